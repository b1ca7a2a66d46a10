"""The threads that load models: apart from those that answer, one thing at a time, and humble beside them.

Building an engine runs at the priority of traffic, because the engine's own threads inherit it and are to serve;
looking, hashing, replaying and warming run at a low one. Before there is any traffic both use the whole machine.

Knows threads. Knows nothing of what they do.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LOW_PRIORITY = 5
"""Nice value: about a quarter of a processor that is busy with requests, all of an idle one. With 10 the slowest
answers took up to 200 ms on a crowded machine: a thread that is pushed aside may hold the interpreter's lock."""


class Stopped(Exception):
    """The service ends; nothing more is begun."""


class Hands:
    """Two threads once there is traffic, as many as asked for before."""

    def __init__(self, at_start: int) -> None:
        self._starting = ThreadPoolExecutor(at_start, thread_name_prefix="modelyard-start")
        self._building = ThreadPoolExecutor(1, thread_name_prefix="modelyard-build")
        self._proving = ThreadPoolExecutor(1, thread_name_prefix="modelyard-prove", initializer=_be_humble)
        self._started = False
        self.stopped = False

    def started(self) -> None:
        """From now on there is traffic."""
        self._started = True
        self._starting.shutdown(wait=False)

    async def build(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what makes threads that will serve.

        Raises:
            Stopped: the service ends.
        """
        return await self._run(self._building, function, *args, **kwargs)

    async def prove(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what only takes time.

        Raises:
            Stopped: the service ends.
        """
        return await self._run(self._proving, function, *args, **kwargs)

    def close(self) -> None:
        """Begin nothing more; what runs, ends."""
        self.stopped = True
        for threads in (self._starting, self._building, self._proving):
            threads.shutdown(wait=False)

    async def _run(self, threads: ThreadPoolExecutor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self.stopped:
            raise Stopped
        chosen = threads if self._started else self._starting
        return await asyncio.get_running_loop().run_in_executor(chosen, lambda: function(*args, **kwargs))


def _be_humble() -> None:
    """Lower the priority of this thread alone: Linux knows one a thread, elsewhere it would be the whole process."""
    if hasattr(os, "sched_getaffinity"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
