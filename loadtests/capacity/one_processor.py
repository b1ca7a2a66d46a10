"""Two processors: one for the pod, the other for everything that measures it.

Knows affinity. Knows nothing of servers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bundle.errors import RunError


@dataclass(frozen=True)
class Apart:
    """Numbers of processors."""

    pod: int
    generator: int


def two_processors() -> Apart:
    """The first two that this process may use.

    Raises:
        RunError: there is only one: pod and generator would measure each other.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise RunError(f"processor {cpus[0]} is all there is; a pod and its load generator need one each: 2 or more")
    return Apart(cpus[0], cpus[1])


@contextmanager
def on(cpu: int) -> Iterator[None]:
    """This process, and those that it starts, run there for the length of a `with`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
