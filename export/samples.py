"""What an imported model is asked where no test split comes with it: raw inputs in memory, each with a target.

Knows raw inputs. Knows nothing of where they come from.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from training.answers import NUM_GOLDEN


@dataclass(frozen=True)
class RawSamples:
    """Raw inputs, their media types, where each is found, and what should be answered."""

    raws: Sequence[bytes]
    media_types: Sequence[str]
    names: Sequence[str]
    targets: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.raws)

    def raw(self, index: int) -> bytes:
        """The raw input."""
        return self.raws[index]

    def media_type(self, index: int) -> str:
        """What it is."""
        return self.media_types[index]

    def target(self, index: int) -> Any:
        """What should be answered."""
        return self.targets[index]

    def name(self, index: int) -> str:
        """Where to find it."""
        return self.names[index]

    def stratum(self, index: int) -> int:
        """Which part of the list: golden samples are drawn from all of it, and lists have an order."""
        return index * NUM_GOLDEN // len(self)

    def answered(self, targets: Sequence[Any]) -> Self:
        """The same inputs, with what should be answered."""
        return replace(self, targets=targets)

    def sha256(self) -> str:
        """Digest over every raw input, in order."""
        digests = b"".join(hashlib.sha256(raw).digest() for raw in self.raws)
        return hashlib.sha256(digests).hexdigest()
