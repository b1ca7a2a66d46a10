"""A split ready for the loop: every sample prepared once, by the same code that serves, and kept in memory.

Knows a bundle's preprocessing and torch. Knows nothing of batches' sizes, shuffling or losses.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from bundle.errors import BadInput, DataError
from bundle.preprocess import Limits, Prepare, Prepared, Source
from bundle.tensors import Array, Tensors, group_alike
from training.data.samples import Samples
from training.graph import Inputs

PrepareTarget = Callable[[Any, Source], Any]
"""A sample's target in the source's own measure -> the same for the prepared row."""


class PreparedSplit(Dataset[Any]):
    """Rows of inputs, and targets that fit them; fetched a batch at a time."""

    def __init__(self, samples: Samples, prepare: Prepare, prepare_target: PrepareTarget) -> None:
        def one(index: int) -> tuple[Tensors, Any]:
            prepared = prepare_sample(samples, index, prepare)
            return prepared.tensors, prepare_target(samples.target(index), prepared.source)

        with ThreadPoolExecutor() as pool:  # decoding releases the GIL
            pairs = list(pool.map(one, range(len(samples)), chunksize=256))
        self.samples = samples
        self.targets = [target for _, target in pairs]
        self._rows = [row for row, _ in pairs]
        alike = len(group_alike(self._rows)) == 1
        self._stacked = _stack(self._rows) if alike else None

    @property
    def inputs(self) -> Inputs:
        """All rows in one batch; those of unlike length padded with zeros."""
        return _stack(self._rows) if self._stacked is None else self._stacked

    @property
    def lengths(self) -> list[int] | None:
        """Sizes of the rows, where they are of unlike length; None where all are of one shape."""
        if self._stacked is not None:
            return None
        return [next(iter(row.values())).size for row in self._rows]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Inputs, Any]:
        return self._batch([index]), self.targets[index]

    def __getitems__(self, indices: list[int]) -> tuple[Inputs, list[Any]]:
        """A whole batch at once, which spares the loader a stack a step."""
        return self._batch(indices), [self.targets[i] for i in indices]

    def _batch(self, indices: list[int]) -> Inputs:
        if self._stacked is None:
            return _stack([self._rows[i] for i in indices])
        return tuple(tensor[indices] for tensor in self._stacked)


def prepare_sample(samples: Samples, index: int, prepare: Prepare) -> Prepared:
    """Prepare one sample as serving would.

    Raises:
        DataError: it cannot be read; the message names it.
    """
    try:
        return prepare(samples.raw(index), Limits())
    except BadInput as cause:
        raise DataError(f"{samples.name(index)}: {cause}") from cause


def _stack(rows: Sequence[Tensors]) -> Inputs:
    return tuple(torch.from_numpy(_pad([row[name] for row in rows])) for name in rows[0])


def _pad(arrays: list[Array]) -> Array:
    """Stack; along every axis the shorter ones end in zeros, which masks call padding."""
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    longest = np.max([array.shape for array in arrays], axis=0)
    padded = np.zeros((len(arrays), *longest), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return padded
