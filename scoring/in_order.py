"""Work on several threads, results in order, within a fixed window: memory stays the same however much there is.

Knows callables. Knows nothing of what they do.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items that wait for each worker."""


def in_order(items: Iterator[Item], work: Callable[[Item], Result], workers: int) -> Iterator[Result]:
    """The results of all items; what a worker raises is raised here, in its turn."""
    window: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="modelyard-evaluate")
    try:
        for item in items:
            window.append(pool.submit(work, item))
            if len(window) > workers * (1 + AHEAD):
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def chunked(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """So many at a time."""
    while chunk := list(islice(items, size)):
        yield chunk
