"""Start a coroutine and see whether it has to wait at all.

Most small requests are answered without waiting for anything: their bodies are there, and their models run on the spot.
What is only needed by those who wait (clocks, watchers) costs the others nothing like this. Knows coroutines.
"""

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Done(Generic[R]):
    """What a coroutine that never waited gave."""

    __slots__ = ("result",)

    def __init__(self, result: R) -> None:
        self.result = result


class Going(Generic[R]):
    """A coroutine that waits for `first`; to be awaited."""

    __slots__ = ("_coroutine", "_first")

    def __init__(self, coroutine: Coroutine[Any, Any, R], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, R]:
        try:
            yield self._first
        except BaseException as cause:  # noqa: BLE001 - a timeout or a cancellation, which is the coroutine's to see
            return (yield from self._thrown(cause))
        return (yield from self._coroutine.__await__())

    def _thrown(self, cause: BaseException) -> Generator[Any, Any, R]:
        try:
            yield self._coroutine.throw(cause)
        except StopIteration as done:
            result: R = done.value
            return result
        return (yield from self._coroutine.__await__())


def begin(coroutine: Coroutine[Any, Any, R]) -> Done[R] | Going[R]:
    """Run a coroutine up to where it waits for the first time; what it raises before is raised here."""
    try:
        return Going(coroutine, coroutine.send(None))
    except StopIteration as done:
        return Done(done.value)
