"""The engines behind one model's queue, and which of them runs a batch: on a CPU by load, on GPUs whichever is free.

Knows predictors. Knows nothing of queues, policies or how engines are chosen.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from runtime.predictor import Predictor

ALL_PROCESSORS = "all processors"
"""Where the second engine of a CPU runs."""


class Engines(ABC):
    """One artefact, loaded once or several times."""

    def __init__(self, loaded: Mapping[str, Predictor]) -> None:
        """`loaded` is told by where each runs."""
        first = next(iter(loaded.values()))
        self.loaded = dict(loaded)
        self.prepare: Callable[[bytes], Prepared] = first.prepare
        self.is_quick: Callable[[bytes], bool] = first.manifest.preprocess.is_quick

    @abstractmethod
    def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
        """Compute rows of one shape; `alone`: nothing else wants the processors."""

    @property
    def dead_because(self) -> str:
        """Which engines never answer again in this process, where they run and why, or ""."""
        dead = {where: death_of(one) for where, one in self.loaded.items()}
        return "; ".join(f"{where}: {reason}" for where, reason in dead.items() if reason)


class CpuEngines(Engines):
    """One artefact in one or two sessions: with one processor a batch, and with all of them."""

    def __init__(self, narrow: Predictor, wide: Predictor | None) -> None:
        super().__init__({"cpu": narrow} if wide is None else {"cpu": narrow, ALL_PROCESSORS: wide})
        self._narrow = narrow.run_batch
        self._wide = (wide or narrow).run_batch

    def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
        """Compute rows of one shape."""
        return self._wide(rows) if alone else self._narrow(rows)


class GpuEngines(Engines):
    """One artefact on each of several GPUs; a batch goes where the fewest are under way.

    Of equals, the one that has waited longest: so a golden sample now and then reaches all of them.
    """

    def __init__(self, loaded: Mapping[str, Predictor]) -> None:
        super().__init__(loaded)
        self._predictors = list(loaded.values())
        self._lock = threading.Lock()
        self._under_way = [0] * len(loaded)
        self._last_turn = [0] * len(loaded)
        self._num_turns = 0

    def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
        """Compute rows of one shape."""
        i = self._take()
        try:
            return self._predictors[i].run_batch(rows)
        finally:
            with self._lock:
                self._under_way[i] -= 1

    def _take(self) -> int:
        with self._lock:
            # A dead engine fails at once, and so would always be the one that is free.
            alive = [i for i, one in enumerate(self._predictors) if not death_of(one)]
            i = min(alive or range(len(self._predictors)), key=self._busy)
            self._under_way[i] += 1
            self._num_turns += 1
            self._last_turn[i] = self._num_turns
        return i

    def _busy(self, i: int) -> tuple[int, int]:
        return self._under_way[i], self._last_turn[i]


def death_of(predictor: Predictor) -> str:
    """Why an engine never answers again in this process, or ""."""
    return predictor.runtime.dead_because
