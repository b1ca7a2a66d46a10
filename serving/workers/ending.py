"""Which signals end a process in good order, and that its end comes though something in it hangs.

Python waits at its end for every thread, and a thread that reads from a volume which no longer answers never ends. Once
all requests are answered there is nothing worth waiting for. Knows signals and threads. Knows nothing of requests.
"""

import os
import signal
import threading
from types import FrameType

from serving.observing.logs import last_words

END_S = 4.0
"""For what was begun when the last request was answered. Less than what a supervisor gives, which would kill."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP unless whoever started this said that it is nothing to end for (`nohup`)."""
    hang_up = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hang_up)


def end_when_hung_up() -> None:
    """Let SIGHUP, which would end the process in the middle of its requests, do what SIGTERM does."""

    def end(_number: int, _frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    if signal.SIGHUP in stop_signals():
        signal.signal(signal.SIGHUP, end)


def end_soon(num_unanswered: int, within_s: float = END_S) -> None:
    """End this process after so long, if it has not ended by itself; the exit code is 0 if nothing is unanswered."""

    def end() -> None:
        threading.Event().wait(within_s)  # not time.sleep, which fails where libfaketime plays with the clock
        last_words(
            "after %g s something still hangs that began before the end: a model that loads, a volume or a collector "
            "of traces that does not answer; the process ends without it",
            within_s,
        )
        os._exit(1 if num_unanswered else 0)

    threading.Thread(target=end, name="modelyard-end", daemon=True).start()
