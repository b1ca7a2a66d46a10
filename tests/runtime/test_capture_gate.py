"""Runs pass together; a capture is alone."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock, Thread

import pytest

from runtime.capture_gate import CaptureGate


def test_runs_are_inside_together() -> None:
    gate, together = CaptureGate(), Barrier(3, timeout=30)

    def run() -> None:
        with gate.beside_others():
            together.wait()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: run(), range(3)))
    assert not together.broken


def test_a_capture_waits_for_the_runs_that_are_inside_and_lets_nobody_in() -> None:
    gate, order = CaptureGate(), []
    inside, leave = Event(), Event()

    def first() -> None:
        with gate.beside_others():
            inside.set()
            leave.wait(30)
            order.append("run")

    def capture() -> None:
        with gate.alone():
            order.append("capture")

    run, captures = Thread(target=first), Thread(target=capture)
    run.start()
    inside.wait(30)
    captures.start()
    leave.set()
    run.join()
    captures.join()
    assert order == ["run", "capture"]


def test_nothing_else_is_inside_while_one_captures() -> None:
    gate, lock = CaptureGate(), Lock()
    inside: list[str] = []
    wrong: list[list[str]] = []

    def enter(kind: str) -> None:
        with gate.alone() if kind == "capture" else gate.beside_others():
            with lock:
                inside.append(kind)
                if "capture" in inside and len(inside) > 1:
                    wrong.append(list(inside))
            with lock:
                inside.remove(kind)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, ["run", "run", "capture", "run"] * 200))
    assert wrong == inside == []


@pytest.mark.parametrize("kind", ["alone", "beside_others"])
def test_one_that_fails_inside_leaves_it(kind: str) -> None:
    gate = CaptureGate()
    with pytest.raises(ValueError, match="broke"), getattr(gate, kind)():
        raise ValueError("broke")
    with gate.alone():
        pass
    with gate.beside_others():
        pass
