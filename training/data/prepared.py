"""A split as tensors: every raw input through the very preprocessing that serving uses, kept in memory.

Knows `bundle.preprocess` and torch. Knows nothing of batches, shuffling or losses.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from bundle.errors import BadInput, DataError
from bundle.preprocess import Limits, Preprocess, prepare
from bundle.tensors import Array
from training.data.samples import Samples


class PreparedSplit(Dataset[Any]):
    """Inputs as one uint8 tensor [n, ...] and the list of targets; fetched a batch at a time."""

    def __init__(self, samples: Samples, spec: Preprocess) -> None:
        def one(index: int) -> Array:
            try:
                return prepare(spec, samples.raw(index), Limits()).tensors["image"]
            except BadInput as cause:
                raise DataError(f"{samples.name(index)}: {cause}") from cause

        with ThreadPoolExecutor() as pool:  # decoding releases the GIL
            rows = list(pool.map(one, range(len(samples)), chunksize=256))
        self.inputs = torch.from_numpy(np.stack(rows))
        self.targets = [samples.target(i) for i in range(len(samples))]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        return self.inputs[index], self.targets[index]

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, list[Any]]:
        """A whole batch at once, which spares the loader a stack a step."""
        return self.inputs[indices], [self.targets[i] for i in indices]
