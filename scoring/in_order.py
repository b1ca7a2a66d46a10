"""Work on several threads, results in order, within a fixed window: memory stays the same however much there is.

Knows callables. Knows nothing of what they do.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items that wait for each worker."""


def in_order(
    items: Iterator[Item], work: Callable[[Item], Result], workers: int, stop: Callable[[], None] = lambda: None
) -> Generator[tuple[Item, Result], None, None]:
    """All items with their results; what a worker raises is raised here, in its turn.

    Where getting an item fails, the results of those before it come first. `stop` is called where it ends early, so
    that what is at work need not be waited for to its end.
    """
    window: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="modelyard-score")
    failed: list[Exception] = []
    try:
        for item in _until_it_fails(items, failed):
            window.append((item, pool.submit(work, item)))
            if len(window) > workers * (1 + AHEAD):
                first, answered = window.popleft()
                yield first, answered.result()
        while window:
            first, answered = window.popleft()
            yield first, answered.result()
        if failed:
            raise failed[0]
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _until_it_fails(items: Iterator[Item], failed: list[Exception]) -> Iterator[Item]:
    try:
        yield from items
    except Exception as cause:  # noqa: BLE001 - raised again, after what came before it
        failed.append(cause)


def chunked(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """So many at a time."""
    while chunk := list(islice(items, size)):
        yield chunk
