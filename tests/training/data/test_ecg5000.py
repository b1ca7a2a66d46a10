"""Heart beats: labels from two columns, normal ones alone in train, damage told."""

import gzip
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets belong to the training extra")

from bundle.errors import DataError
from training.data import ecg5000
from training.data.ecg5000 import LABELS, NUM_STEPS, Ecg5000, _read

BEATS = [(0, 1), (0, 1), (0, -1), (0, 1), (1, 2), (1, 5), (1, -1)]


def lines(rows: list[tuple[int, int]]) -> str:
    header = ",".join(["anomaly", "beat", *(f"t{i:03}" for i in range(NUM_STEPS))])
    values = np.random.default_rng(0).normal(0, 1, (len(rows), NUM_STEPS)).round(4)
    return "\n".join(
        [header, *(",".join(map(str, [*row, *value.tolist()])) for row, value in zip(rows, values, strict=True))]
    )


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ecg5000_train.csv").write_text(lines(BEATS))
    (tmp_path / "ecg5000_test.csv.gz").write_bytes(gzip.compress(lines(BEATS[2:]).encode()))
    monkeypatch.setattr(ecg5000, "fetch", lambda _: tmp_path)
    return tmp_path


def labels(samples) -> list[str]:
    return [LABELS[samples.target(i)] for i in range(len(samples))]


def test_train_holds_normal_beats_alone_and_validation_the_abnormal_ones(mirror: Path) -> None:
    splits = Ecg5000().load()
    assert splits.labels == LABELS
    assert labels(splits.train) == ["normal"] * 3
    assert labels(splits.validation) == ["normal", "R-on-T PVC", "unclassified", "abnormal"]
    assert labels(splits.test) == ["normal", "normal", "R-on-T PVC", "unclassified", "abnormal"]


def test_a_beat_is_given_out_as_one_line_of_numbers(mirror: Path) -> None:
    test = Ecg5000().load().test
    values = np.array(test.raw(0).decode().split(","), float)
    assert (len(values), test.media_type(0), test.stratum(2)) == (NUM_STEPS, "text/csv", 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n1,x", "cannot be read"),
        (b"a,b\n1,2", "2 columns; expected anomaly, beat and 140"),
        (b"\xff", "cannot be read"),
    ],
)
def test_damaged_files_are_told(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "beats.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told):
        _read(path)
