"""Which of several GPUs gets a batch."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import DeviceLost, RuntimeFailed
from bundle.store import open_bundle
from bundle.tensors import Tensors
from runtime.predictor import load_predictor
from serving.batching.engines import GpuEngines
from tests.builders import write_fake_bundle

SOON_S = 10


class Card:
    """Stands in a predictor's runtime and counts."""

    def __init__(self) -> None:
        self.batches = 0
        self.dead_because = ""
        self.entered = threading.Semaphore(0)
        self.gate: threading.Event | None = None

    def around(self, run: Callable[[Tensors], Tensors]) -> Callable[[Tensors], Tensors]:
        def counted(batch: Tensors) -> Tensors:
            self.batches += 1
            self.entered.release()
            if self.dead_because:
                raise DeviceLost(self.dead_because)
            if self.gate is not None:
                assert self.gate.wait(SOON_S)
            return run(batch)

        return counted


class Yard:
    """Engines on some cards."""

    def __init__(self, folder: Path, number: int) -> None:
        bundle = open_bundle(write_fake_bundle(folder))
        self.cards = [Card() for _ in range(number)]
        loaded = {}
        for i, card in enumerate(self.cards):
            predictor = load_predictor(bundle)
            predictor.runtime = Watched(predictor.runtime, card)  # type: ignore[assignment]
            loaded[f"cuda:{i}"] = predictor
        self.engines = GpuEngines(loaded)
        self.row = bundle.golden()[0].inputs
        self.threads = ThreadPoolExecutor(8)

    def run(self) -> list[Tensors]:
        return self.engines.run([self.row], alone=False)

    def begin(self) -> "Future[list[Tensors]]":
        return self.threads.submit(self.run)

    def batches(self) -> list[int]:
        return [card.batches for card in self.cards]


class Watched:
    """A runtime on a card."""

    def __init__(self, runtime: object, card: Card) -> None:
        self._card = card
        self.run = card.around(runtime.run)  # type: ignore[attr-defined]

    @property
    def dead_because(self) -> str:
        return self._card.dead_because


def test_batches_one_after_the_other_go_round(tmp_path: Path) -> None:
    yard = Yard(tmp_path, 3)
    for _ in range(6):
        yard.run()
    assert yard.batches() == [2, 2, 2]


def test_a_batch_goes_where_the_fewest_are_under_way(tmp_path: Path) -> None:
    yard = Yard(tmp_path, 2)
    slow = yard.cards[0]
    slow.gate = threading.Event()
    held = [yard.begin()]
    assert slow.entered.acquire(timeout=SOON_S)
    for _ in range(5):
        yard.run()
    assert yard.batches() == [1, 5]
    slow.gate.set()
    held[0].result(SOON_S)
    yard.run()
    assert yard.batches() == [2, 5], "the one that has waited longest is next"


def test_a_batch_that_fails_frees_its_place(tmp_path: Path) -> None:
    yard = Yard(tmp_path, 2)
    wrong = {name: array.astype(np.float64) for name, array in yard.row.items()}
    for _ in range(4):
        with pytest.raises(RuntimeFailed):
            yard.engines.run([wrong], alone=False)
    assert yard.batches() == [2, 2]


def test_a_dead_card_gets_no_batch_while_another_lives(tmp_path: Path) -> None:
    yard = Yard(tmp_path, 2)
    yard.cards[0].dead_because = "Xid 79: fallen off the bus"
    for _ in range(4):
        yard.run()
    assert yard.batches() == [0, 4]
    assert yard.engines.dead_because == "cuda:0: Xid 79: fallen off the bus"


def test_where_all_are_dead_their_reason_is_raised(tmp_path: Path) -> None:
    yard = Yard(tmp_path, 2)
    for card in yard.cards:
        card.dead_because = "the driver is gone"
    with pytest.raises(DeviceLost, match="the driver is gone"):
        yard.run()
    assert yard.engines.dead_because == "cuda:0: the driver is gone; cuda:1: the driver is gone"


def test_an_engine_that_never_says_whether_it_is_dead_lives(tmp_path: Path) -> None:
    predictor = load_predictor(open_bundle(write_fake_bundle(tmp_path)))
    assert GpuEngines({"cuda:0": predictor}).dead_because == ""
