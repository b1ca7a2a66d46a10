"""Which samples an epoch is made of, and in which order; both follow from (seed, epoch) alone.

Knows torch's samplers. Knows nothing of what the samples are.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DistributedSampler

from training.data.prepared import PreparedSplit

BATCHES_A_WINDOW = 50  # sorted together: enough for batches of one length, few enough to stay random


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


class LengthSampler(DistributedSampler[Any]):
    """What another sampler draws, put in order so that the rows of a batch are of like length.

    A batch is padded to its longest row: of NSMC's reviews, 36 characters long on average, random batches of 128 would
    be padded to 130. Within windows of many batches rows are sorted by length; which batch comes when stays random.
    """

    def __init__(self, drawn: DistributedSampler[Any], lengths: Sequence[int], batch_size: int) -> None:
        super().__init__(drawn.dataset, drawn.num_replicas, drawn.rank, shuffle=drawn.shuffle, seed=drawn.seed)
        self._drawn, self._lengths, self._batch_size = drawn, lengths, batch_size

    def set_epoch(self, epoch: int) -> None:
        """The draw is another every epoch."""
        super().set_epoch(epoch)
        self._drawn.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """The same indices as the other sampler's."""
        drawn = list(self._drawn)
        window = BATCHES_A_WINDOW * self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(drawn), window):
            rows = sorted(drawn[start : start + window], key=self._lengths.__getitem__)
            batches += [rows[i : i + self._batch_size] for i in range(0, len(rows), self._batch_size)]
        last = batches.pop()  # it may be smaller than the others, and only the last one of an epoch may be
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(batches), generator=generator).tolist()
        return iter([i for batch in [*(batches[i] for i in order), last] for i in batch])
