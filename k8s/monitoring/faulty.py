"""`python -m k8s.monitoring.faulty FAULTS REPOSITORY ...`: the service as it is, on a machine that can be made to fail.

A file in the folder FAULTS is a fault while it lies there; their names are in FAULTS. The GPUs are imitated
(tests/serving/imitated_nvml.py); engines are the fake runtime. Knows what to
break. Knows nothing of figures.
"""

import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import runtime.fake
from bundle.errors import OutOfMemory, RuntimeFailed
from bundle.tensors import Tensors
from modelyard import main
from serving.observing import gpu_metrics
from tests.serving import imitated_nvml
from tests.serving.imitated_nvml import FIRST, SECOND, Card, ImitatedNvml, two_cards

FAULTS = ("slow", "canary", "memory", "broken", "wrong", "gpu-lost")
SLOW_S = 0.6
CANARY_FAILS_EVERY = 5
ECC_EVERY_S = 5.0


class Faulty(runtime.fake.FakeRuntime):
    """The fake runtime, with faults by the model's name."""

    faults = Path()

    def __init__(self, path: Path, *placement: Any) -> None:
        super().__init__(path, *placement)
        self._model, self._version = path.parts[-3], path.parts[-2]
        self._runs = count(1)

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch, or fail at it."""
        outputs = super().run(batch)
        rows = len(next(iter(batch.values())))
        if self._model == "slow" and self._there("slow"):
            time.sleep(SLOW_S)
        on_trial = self._model == "picture" and self._version != "1" and self._there("canary")
        if on_trial and not next(self._runs) % CANARY_FAILS_EVERY:
            raise RuntimeFailed("a fault that was asked for")
        if self._model == "slow" and rows > 1 and self._there("memory"):
            raise OutOfMemory("a fault that was asked for")
        if self._model == "text" and self._there("broken"):
            raise RuntimeFailed("a fault that was asked for")
        if self._model == "series" and self._there("wrong"):
            return {name: np.full_like(array, np.nan) for name, array in outputs.items()}
        return outputs

    def _there(self, fault: str) -> bool:
        return (self.faults / fault).exists()


class Machine(ImitatedNvml):
    """Two GPUs: one is hot, nearly full, and has a memory error more every few seconds; one can fall off the bus."""

    def __init__(self, faults: Path) -> None:
        hot, losable = two_cards().cards
        full = SimpleNamespace(used=78 << 30, total=80 << 30)
        hot.figures |= {
            "MemoryInfo": full,
            "CurrentClocksEventReasons": imitated_nvml.nvmlClocksEventReasonHwThermalSlowdown,
        }
        super().__init__(hot, losable)
        self.faults = faults
        self.began = time.monotonic()

    def _tell(self, card: Card, figure: str) -> Any:
        if card is self.cards[1]:
            card.lost = (self.faults / "gpu-lost").exists()
        if figure == "TotalEccErrors" and card is self.cards[0]:
            return int((time.monotonic() - self.began) / ECC_EVERY_S)
        return super()._tell(card, figure)


def break_things(faults: Path) -> None:
    """Put the faults in place; nothing fails before its file lies there."""
    Faulty.faults = faults
    runtime.fake.FakeRuntime = Faulty  # type: ignore[misc] # where the table of runtimes finds it
    sys.modules["pynvml"] = Machine(faults)  # type: ignore[assignment]
    gpu_metrics.gpu_uuids = lambda: (FIRST, SECOND)


if __name__ == "__main__":
    break_things(Path(sys.argv[1]))
    main(["serve", *sys.argv[2:]])
