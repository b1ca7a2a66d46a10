"""What becomes of a model whose device has met a batch that its memory does not hold: smaller batches from then on.

Until it is loaded anew: memory that was short once is short again at the next peak, and each new attempt would cost
requests. Knows numbers of rows. Knows nothing of devices, queues or HTTP.
"""

import logging
from collections.abc import Callable

from serving.batching.call import now

TELL_EVERY_S = 10.0
"""A line in the log at most so often for each model."""

log = logging.getLogger("modelyard.serving")


class Shortage:
    """The largest batch of one model. Belongs to one thread at a time."""

    def __init__(self, what: str, largest: int, now_s: Callable[[], float] = now) -> None:
        self.largest = largest
        self._what = what
        self._before = largest
        self._now_s = now_s
        self._told_at: float | None = None
        self._untold = 0

    def met(self, rows: int) -> int:
        """A batch of so many rows did not fit; the largest batch from now on: half of that."""
        self.largest = max(1, min(self.largest, rows // 2))
        self._untold += 1
        if self._told_at is None or self._now_s() - self._told_at >= TELL_EVERY_S:
            also = f", as {self._untold - 1} batches before it since this was last told" if self._untold > 1 else ""
            text = "%s: its device's memory did not hold a batch of %d rows%s; the largest batch is now %d"
            log.warning(text, self._what, rows, also, self.largest)
            self._told_at, self._untold = self._now_s(), 0
        return self.largest

    @property
    def remark(self) -> str:
        """What is to be known of the model, or ""."""
        if self.largest == self._before:
            return ""
        return (
            f"its batches are of at most {self.largest} rows in place of {self._before}, since the memory of its "
            "device was short; load it again to try larger ones"
        )
