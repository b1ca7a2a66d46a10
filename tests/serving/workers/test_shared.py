"""Reports that workers leave for each other."""

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from serving.workers.shared import Command, Report, Shared


def report(text: str) -> Report:
    return Report(os.getpid(), time.monotonic(), text)


def test_reports_take_turns_in_two_files_and_the_newest_counts(tmp_path: Path) -> None:
    shared = Shared(tmp_path, 1)
    inodes = []
    for number in range(6):
        shared.report(0, report(f"reason {number}" + "x" * (6 - number)))
        told = shared.reported(0)
        assert told is not None
        assert told.not_ready == f"reason {number}" + "x" * (6 - number)
        inodes.append((tmp_path / "report-0").stat().st_ino)
    assert len(set(inodes)) == 2
    assert all(one != other for one, other in pairwise(inodes))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report-0", "turn-0-0", "turn-0-1"]


def test_a_report_that_is_overtaken_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Shared(tmp_path, 1)
    shared.report(0, report("whole"))
    contents = [b'{"pid":1,"at":', (tmp_path / "report-0").read_bytes()]
    monkeypatch.setattr(Path, "read_bytes", lambda _: contents.pop(0))
    told = shared.reported(0)
    assert told is not None
    assert told.not_ready == "whole"


def test_a_command_that_has_no_room_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(file: Path, _: bytes) -> int:
        file.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(OSError, match="No space"):
        Shared(tmp_path, 1).command(Command("load", "a"))
    assert not list(tmp_path.iterdir())
