"""Files of figures, where there is room and where there is none."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serving.observing import reserved
from serving.observing.reserved import FIRST_BYTES, ReservedDict, reserve, shrink


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "counter_1.db"


@pytest.fixture
def figures(file: Path) -> Iterator[ReservedDict]:
    figures = ReservedDict(str(file))
    yield figures
    figures.close()


def test_a_file_has_its_room_before_it_is_written_to(file: Path, figures: ReservedDict) -> None:
    assert file.stat().st_blocks * 512 >= FIRST_BYTES
    figures.write_value("a", 1.0, 2.0)
    assert figures.read_value("a") == (1.0, 2.0)


def test_it_grows_with_room_and_keeps_what_it_had(file: Path, figures: ReservedDict) -> None:
    for number in range(1000):
        figures.write_value(f"{number}" + "k" * 100, float(number), 0.0)
    assert file.stat().st_blocks * 512 >= 2 * FIRST_BYTES
    assert [value for _, value, *_ in ReservedDict.read_all_values_from_file(str(file))] == list(
        map(float, range(1000))
    )


def test_without_room_new_figures_are_lost_and_old_ones_count_on(
    file: Path, figures: ReservedDict, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    figures.write_value("old", 1.0, 0.0)

    def no_room(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reserved.os, "posix_fallocate", no_room)
    for number in range(1000):
        figures.write_value(f"{number}" + "k" * 100, 5.0, 0.0)
    figures.write_value("old", 2.0, 0.0)
    assert os.path.getsize(file) == FIRST_BYTES  # noqa: PTH202
    told = {key: value for key, value, *_ in ReservedDict.read_all_values_from_file(str(file))}
    assert told["old"] == 2.0
    assert set(told.values()) == {2.0, 5.0}
    assert 400 < len(told) < 1000
    assert caplog.text.count("there is no room for more figures") == 1


def test_a_file_that_cannot_be_begun_says_where_and_for_what(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reserved.os, "posix_fallocate", no_room)
    with pytest.raises(OSError, match=r"No space left on device: figures of several processes.*counter_1\.db"):
        ReservedDict(str(file))


def test_room_is_taken_before_there_are_figures_and_what_is_left_of_it_is_given_back(tmp_path: Path) -> None:
    reserve(tmp_path, ("counter", "histogram"))
    files = [tmp_path / f"{kind}_{os.getpid()}.db" for kind in ("counter", "histogram")]
    assert [file.stat().st_size for file in files] == [FIRST_BYTES] * 2
    with closing(ReservedDict(str(files[0]))) as figures:
        figures.write_value("a", 3.0, 0.0)
    shrink(tmp_path, os.getpid())
    assert [file.stat().st_size for file in files] == [8 + 4 + 4 + 16, 8]
    told = [list(ReservedDict.read_all_values_from_file(str(file))) for file in files]
    assert [(key, value) for key, value, *_ in told[0]] == [("a", 3.0)]
    assert told[1] == []
