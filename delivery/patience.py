"""Asking again: what is cut off goes on where it ended, after a pause that grows; what stays away is told.

Knows pauses. Knows nothing of what is asked for.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from bundle.errors import SourceError, SourceInterrupted

T = TypeVar("T")

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""After the 1st, 2nd ... failure in a row; then it is given up. Each is cut by up to a half, so that many do not ask
in step."""

Sleep = Callable[[float], None]


def asked_again(ask: Callable[[], T], sleep: Sleep = time.sleep) -> T:
    """What `ask` returns, asked again while it is interrupted.

    Raises:
        SourceError: it was interrupted to the end, or fails for good.
    """
    for pause_s in PAUSES_S:
        try:
            return ask()
        except SourceInterrupted:
            sleep(_about(pause_s))
    try:
        return ask()
    except SourceInterrupted as cause:
        raise given_up(cause) from None


def read_patiently(read: Callable[[int], Iterator[bytes]], size: int, sleep: Sleep = time.sleep) -> Iterator[bytes]:
    """The pieces of a file of `size` bytes, read on from where reading was cut off; `read` takes an offset.

    Raises:
        SourceError: nothing more came in several attempts, or there is more than `size`.
    """
    done, failures = 0, 0
    while True:
        try:
            for piece in read(done):
                done += len(piece)
                if done > size:
                    raise SourceError(f"holds more than the {size} bytes that it was listed with; it is being changed")
                failures = 0
                yield piece
            if done == size:
                return
            raise SourceInterrupted(f"ended after {done} of {size} bytes")
        except SourceInterrupted as cause:
            if failures == len(PAUSES_S):
                raise given_up(cause) from None
            sleep(_about(PAUSES_S[failures]))
            failures += 1


def given_up(cause: SourceInterrupted) -> SourceError:
    """The error at the end of patience."""
    return SourceError(f"{cause}; given up after {len(PAUSES_S) + 1} attempts")


def _about(pause_s: float) -> float:
    return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
