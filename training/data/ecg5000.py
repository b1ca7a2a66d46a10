"""ECG5000 (of the UCR archive, from PhysioNet's BIDMC recordings): single heart beats of 140 values, normal or not."""

import gzip
from pathlib import Path
from typing import Literal

import numpy as np

from bundle.errors import DataError
from bundle.tensors import Array
from training.data.fetch import fetch
from training.data.samples import DataConfig, Samples, Splits, Subset
from training.data.series import SeriesRows

LABELS = ("normal", "R-on-T PVC", "PVC", "supraventricular or ectopic", "unclassified", "abnormal")
"""The file's `beat` less 1; the last is abnormal of no known kind."""
NUM_STEPS = 140
HELD_OUT_SHARE = 0.25
HELD_OUT_SEED = 20260104  # fixed apart from the run's seed: what is chosen on stays the same


class Ecg5000(DataConfig):
    """500 beats in train (292 normal), 4,500 in test (2,627 normal)."""

    dataset: Literal["ecg5000"] = "ecg5000"

    def load(self) -> Splits:
        """Train is normal beats alone; validation is a quarter of them and the abnormal ones of the train file."""
        folder = fetch("ecg5000")
        known = _read(folder / "ecg5000_train.csv")
        normal = np.flatnonzero(known.labels == 0)
        held = np.random.default_rng(HELD_OUT_SEED).permutation(normal)[: round(HELD_OUT_SHARE * len(normal))]
        rest = np.setdiff1d(normal, held)
        validation = np.sort(np.concatenate([held, np.flatnonzero(known.labels != 0)]))
        return Splits(LABELS, _some(known, rest), _read(folder / "ecg5000_test.csv.gz"), _some(known, validation))


def _some(samples: Samples, indices: Array) -> Subset:
    return Subset(samples, indices.tolist())


def _read(path: Path) -> SeriesRows:
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("ascii").splitlines()
        table = np.loadtxt(lines, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, EOFError, ValueError) as cause:  # ValueError: not ASCII, or a field that is no number
        raise DataError(f"{path}: cannot be read: {cause}") from None
    if table.shape[1] != 2 + NUM_STEPS:
        raise DataError(f"{path}: {table.shape[1]} columns; expected anomaly, beat and {NUM_STEPS} values")
    anomaly, beat = table[:, 0].astype(int), table[:, 1].astype(int)
    labels = np.where(anomaly == 0, 0, np.where(beat > 1, beat - 1, len(LABELS) - 1))
    return SeriesRows(table[:, 2:], labels)
