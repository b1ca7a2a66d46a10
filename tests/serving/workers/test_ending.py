"""How a process ends though something in it hangs, and which signals end it; each in a process of its own."""

import signal
import subprocess
import sys
import time

import pytest

from serving.workers.ending import stop_signals
from tests.serving.running import PATIENCE_S, ROOT

HANGS = """
import logging, threading, time
from serving.observing.logs import configure
from serving.workers.ending import end_soon
configure("text", "info")
threading.Thread(target=time.sleep, args=(60,)).start()
end_soon({unanswered}, within_s=0.3)
"""


@pytest.mark.parametrize(("unanswered", "code"), [(0, 0), (2, 1)])
def test_a_thread_that_hangs_does_not_keep_the_process(unanswered: int, code: int) -> None:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGS.format(unanswered=unanswered)],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == code
    assert "after 0.3 s something still hangs" in done.stderr
    assert time.monotonic() - start < PATIENCE_S


def test_a_hang_up_ends_the_service_unless_it_was_started_to_outlive_it() -> None:
    assert signal.SIGHUP in stop_signals()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == (signal.SIGTERM, signal.SIGINT)
    finally:
        signal.signal(signal.SIGHUP, before)
