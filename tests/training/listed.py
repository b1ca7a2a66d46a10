"""Samples for tests: whatever bytes and targets a test names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Listed:
    """A split in memory; strata are all 0 where none are given."""

    raws: Sequence[bytes]
    targets: Sequence[Any]
    kind: str = "image/png"
    strata: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.raws)

    def raw(self, index: int) -> bytes:
        return self.raws[index]

    def media_type(self, index: int) -> str:
        return self.kind

    def target(self, index: int) -> Any:
        return self.targets[index]

    def name(self, index: int) -> str:
        return f"sample {index}"

    def stratum(self, index: int) -> int:
        return self.strata[index] if self.strata else 0
