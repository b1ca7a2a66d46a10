"""A log that nobody reads must not stop the service: lines are handed to a thread, and it alone waits for the reader.

A pipe holds 64 KB; once its reader stands still, whoever writes stands still too. So lines wait here instead, so many
at most; what does not fit is dropped, counted, and told once the reader is back. A reader that has gone for good (its
end of the pipe is closed) is nobody to wait for: then lines are dropped as they come.

Knows file descriptors and logging. Knows nothing of what lines say.
"""

import logging
import os
import select
import threading
import time
from collections import deque

MAX_WAITING = 4096
"""Lines that wait for the reader; a few hundred bytes each."""
FLUSH_S = 1.0
"""How long the end of the process waits for a reader; what it has not taken by then is lost."""


class PatientHandler(logging.Handler):
    """Writes lines to a descriptor from a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.lost = 0
        """Lines that were dropped since the start."""
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._more = threading.Condition()
        self._untold = 0
        self._busy = False
        self._writer = threading.Thread(target=self._write_for_ever, name="modelyard-log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line over; here it is formatted, since it may name the request that is being answered."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a line that cannot be made is told as logging tells it
            self.handleError(record)
            return
        with self._more:
            if len(self._waiting) >= MAX_WAITING:
                self.lost += 1
                self._untold += 1
                return
            self._waiting.append(line)
            self._more.notify()

    def flush(self) -> None:
        """Wait until all is written, but not for ever."""
        end = time.monotonic() + FLUSH_S
        with self._more:
            while (self._waiting or self._busy) and (left := end - time.monotonic()) > 0:
                self._more.wait(left)

    def close(self) -> None:
        """Write what is there, if it is read soon."""
        self.flush()
        super().close()

    def _write_for_ever(self) -> None:
        while True:
            with self._more:
                self._busy = False
                self._more.notify_all()
                while not self._waiting:
                    self._more.wait()
                line, self._busy = self._waiting.popleft(), True
                untold, self._untold = self._untold, 0
            self._write(line)
            if untold:
                self._write(self._told(untold))

    def _told(self, untold: int) -> str:
        text = "%d lines of the log were dropped here: nobody read standard error; see what collects it"
        return self.format(logging.LogRecord("modelyard.serving", logging.ERROR, __file__, 0, text, (untold,), None))

    def _write(self, line: str) -> None:
        left = memoryview(f"{line}\n".encode(errors="backslashreplace"))
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # whoever shares the pipe has set it so; it is full all the same
                select.select([], [self._descriptor], [])
            except OSError:  # closed: there is nobody to tell
                self.lost += 1
                return
