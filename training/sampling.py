"""Which samples an epoch is made of, and in which order; both follow from (seed, epoch) alone.

Knows torch's samplers. Knows nothing of what the samples are.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DistributedSampler

from training.data.prepared import PreparedSplit


class BalancedSampler(DistributedSampler[Any]):
    """Every stratum equally often: rare ones repeat, common ones are drawn in part, and an epoch stays as long."""

    def __init__(self, split: PreparedSplit, num_replicas: int, rank: int, seed: int) -> None:
        super().__init__(split, num_replicas, rank, shuffle=True, seed=seed)
        strata = torch.tensor([split.samples.stratum(i) for i in range(len(split))])
        _, index, counts = strata.unique(return_inverse=True, return_counts=True)
        self._weights = 1.0 / counts[index].double()

    def __iter__(self) -> Iterator[int]:
        """Draw anew every epoch; each process takes its part of one common draw."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        drawn = torch.multinomial(self._weights, self.total_size, replacement=True, generator=generator)
        return iter(drawn[self.rank :: self.num_replicas].tolist())
