"""A batcher with a model that doubles numbers, lanes of its own, and somebody who notes what is reported."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np

from bundle.errors import BadInput, RuntimeFailed
from bundle.preprocess import Prepared, SeriesSource
from bundle.tensors import Tensors
from serving.batching.batcher import Batcher
from serving.batching.call import Call
from serving.batching.lanes import Lanes
from serving.batching.policy import Policy

SOON_S = 10


class Doubling:
    """A model that doubles numbers: raw inputs are their digits, one for each column of the row."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.alone: list[bool] = []
        self.prepared: list[bytes] = []
        self.quick = True
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def prepare(self, raw: bytes) -> Prepared:
        self.prepared.append(raw)
        if not raw.isdigit():
            raise BadInput(f"{raw!r} is no number")
        return Prepared({"x": np.array([float(digit) for digit in raw.decode()])}, SeriesSource(len(raw)))

    def is_quick(self, raw: bytes) -> bool:
        return self.quick

    def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
        self.alone.append(alone)
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(SOON_S)
        self.batches.append([float(row["x"][0]) for row in rows])
        assert len({row["x"].shape for row in rows}) == 1
        if any(row["x"][0] == 9 for row in rows):
            raise RuntimeFailed("9 breaks the engine")
        return [{"y": row["x"] * 2} for row in rows]


class Told:
    """Notes what a batcher reports."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.events: list[str] = []

    def batch(self, size: int, compute_s: float) -> None:
        self.sizes.append(size)

    def out_of_memory(self) -> None:
        self.events.append("out of memory")

    def shed(self) -> None:
        self.events.append("shed")

    def deadline_drop(self) -> None:
        self.events.append("late")

    def gone_drop(self) -> None:
        self.events.append("gone")


class Yard:
    """A batcher with its model, its lanes and whoever is told."""

    def __init__(self, lanes: int = 1, **policy: object) -> None:
        self.model, self.told, self.lanes = Doubling(), Told(), Lanes(lanes)
        self.batcher = Batcher("model 'd'", self.model, Policy(**policy), self.lanes, self.told)  # type: ignore[arg-type]

    def ask(self, *raws: bytes, call: Call | None = None) -> "asyncio.Future[list[float]]":
        return self.batcher.submit(call or Call(), raws, lambda rows, _: [float(row["y"][0]) for row in rows])

    async def blocked(self) -> "asyncio.Future[list[float]]":
        """Hold the engine with one request, so that everything after it queues."""
        self.model.gate = threading.Event()
        self.model.entered.clear()
        holding = self.ask(b"0")
        assert await asyncio.to_thread(self.model.entered.wait, SOON_S)
        return holding

    def let_go(self) -> None:
        assert self.model.gate is not None
        self.model.gate.set()
