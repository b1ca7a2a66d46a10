"""A log whose reader stands still, comes back, or has gone."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from serving.observing import patient
from serving.observing.patient import PatientHandler

PATIENCE_S = 10.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        with suppress(OSError):  # the test has closed it
            os.close(end)


def fill(end: int) -> int:
    """Write until nothing more fits; how many bytes."""
    os.set_blocking(end, False)
    num = 0
    while True:
        try:
            num += os.write(end, b"." * 4096)
        except BlockingIOError:
            os.set_blocking(end, True)
            return num


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, "", 0, text, None, None)


def read(end: int, num: int) -> str:
    content = b""
    while len(content) < num:
        content += os.read(end, 65536)
    return content.decode()


def test_lines_come_in_order_and_are_all_there_after_a_flush(pipe: tuple[int, int]) -> None:
    handler = PatientHandler(pipe[1])
    for number in range(50):
        handler.emit(line(f"line {number}"))
    handler.flush()
    assert os.read(pipe[0], 65536).decode().splitlines() == [f"line {number}" for number in range(50)]
    assert handler.lost == 0


def test_whoever_logs_does_not_wait_and_what_waits_is_bounded_and_told(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "MAX_WAITING", 10)
    before = fill(pipe[1])
    handler = PatientHandler(pipe[1])
    handler.emit(line("first"))
    deadline = time.monotonic() + PATIENCE_S
    while handler._waiting:  # until the thread has it in hand
        assert time.monotonic() < deadline
        time.sleep(0.01)
    start = time.monotonic()
    for number in range(30):
        handler.emit(line(f"line {number}"))
    assert time.monotonic() - start < 1.0
    assert handler.lost == 20
    assert read(pipe[0], before)  # the reader is back
    handler.flush()
    told = os.read(pipe[0], 65536).decode().lstrip(".").splitlines()
    assert told[0] == "first"
    assert told[1] == "line 0"
    assert told[2].startswith("20 lines of the log were dropped here")
    assert told[3:] == [f"line {number}" for number in range(1, 10)]


def test_the_end_waits_a_moment_and_no_longer(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "FLUSH_S", 0.2)
    fill(pipe[1])
    handler = PatientHandler(pipe[1])
    handler.emit(line("never read"))
    start = time.monotonic()
    handler.close()
    assert 0.1 < time.monotonic() - start < PATIENCE_S
    os.close(pipe[0])  # lets the thread go


def test_a_reader_that_has_gone_is_no_error_and_is_counted(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    handler = PatientHandler(pipe[1])
    for _ in range(5):
        handler.emit(line("to nobody"))
    handler.flush()
    assert handler.lost == 5


def test_a_line_that_is_no_text_is_written_all_the_same(pipe: tuple[int, int]) -> None:
    handler = PatientHandler(pipe[1])
    handler.emit(line("odd \ud800 name"))
    handler.flush()
    assert os.read(pipe[0], 100) == b"odd \\ud800 name\n"


def test_a_pipe_that_others_have_set_not_to_block_is_waited_for_too(pipe: tuple[int, int]) -> None:
    before = fill(pipe[1])
    os.set_blocking(pipe[1], False)
    handler = PatientHandler(pipe[1])
    handler.emit(line("late"))
    time.sleep(0.05)
    told = read(pipe[0], before + len("late\n"))
    assert told.endswith("late\n")
    assert handler.lost == 0
