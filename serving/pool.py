"""Run the blocking parts of a request off the event loop, in as many threads as there are processors.

The batcher will stand where `compute` is: the same call, rows in, rows of outputs back. Knows predictors and threads.
Knows nothing of HTTP.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from bundle.errors import BadInput
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from runtime.predictor import Predictor

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """A sized thread pool; decoding pictures and running engines release the GIL."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="modelyard")

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a blocking function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))

    async def prepare(self, predictor: Predictor, raws: Sequence[bytes]) -> list[Prepared]:
        """Prepare inputs side by side.

        Raises:
            BadInput: an input cannot be read; with several, the message says which.
        """
        prepared = await asyncio.gather(
            *(self.run(predictor.prepare, raw) for raw in raws), return_exceptions=len(raws) > 1
        )
        for i, one in enumerate(prepared):
            if isinstance(one, BadInput):
                raise type(one)(f"instance {i}: {one}") from one
            if isinstance(one, BaseException):
                raise one
        return [one for one in prepared if isinstance(one, Prepared)]

    async def compute(self, predictor: Predictor, rows: Sequence[Tensors]) -> list[Tensors]:
        """Run one request's rows.

        Raises:
            RuntimeFailed: the engine broke.
        """
        return await self.run(predictor.run, rows)

    def close(self) -> None:
        """Let running calls finish and start no more."""
        self._executor.shutdown(wait=True, cancel_futures=True)
