"""Latency: every engine at every batch size, in turn; the speed-up is a mean of ratios."""

import time

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")

from bundle.tensors import Tensors
from export import latency
from export.latency import measure


class Sleeper:
    inputs = ()
    outputs = ()

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.batch_sizes: set[int] = set()
        self.lengths: set[int] = set()

    def run(self, batch: Tensors) -> Tensors:
        self.batch_sizes.add(len(batch["x"]))
        self.lengths.add(batch["x"].shape[1])
        time.sleep(self._seconds)
        return batch


def test_measures_every_engine_at_every_batch_size() -> None:
    engines = {"slow": Sleeper(0.02), "fast": Sleeper(0.001)}
    table = measure(engines, [{"x": np.zeros(2)}], [1, 8])
    assert set(table) == {"slow", "fast"}
    assert engines["slow"].batch_sizes == {1, 8}
    assert table["fast"].speed_up(table["slow"]) > 3


def test_rows_of_the_commonest_shape_fill_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "BUDGET_S", 0.01)
    engine = Sleeper(0.0)
    measure({"only": engine}, [{"x": np.zeros(length)} for length in (5, 2, 3, 2, 5, 2)], [1, 4])
    assert engine.batch_sizes == {1, 4}
    assert engine.lengths == {2}
