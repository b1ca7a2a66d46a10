"""Tensors by name: their declared form, and the arrays themselves.

Knows numpy. Knows nothing of who makes the arrays or what they mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bundle.spec import Spec

Array = NDArray[Any]
Tensors = dict[str, Array]
"""Arrays by tensor name. A *row* has no batch axis, a *batch* has it first; the surrounding names say which."""

Compute = Callable[[list[Tensors]], list[Tensors]]
"""Rows of inputs -> rows of outputs, in order; of a checkpoint or of an engine."""

DType = Literal["bool", "uint8", "int8", "int32", "int64", "float16", "float32"]


class TensorSpec(Spec):
    """One input or output of a graph; shape items are sizes or the names of dynamic axes, the batch first."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """For a message: name, type and shape."""
        return f"{self.name}: {self.dtype} {list(self.shape)}"

    def fits(self, declared: "TensorSpec") -> bool:
        """Whether an engine's tensor is the one declared; "?" is a dynamic axis whose name the engine does not know."""
        if (self.name, self.dtype, len(self.shape)) != (declared.name, declared.dtype, len(declared.shape)):
            return False
        pairs = zip(self.shape, declared.shape, strict=True)
        return all(mine == want or (mine == "?" and isinstance(want, str)) for mine, want in pairs)

    def mismatch(self, array: Array) -> str | None:
        """Say how a batched array differs from this spec, or None when it fits."""
        if array.dtype != np.dtype(self.dtype):
            return f"tensor '{self.name}' is {array.dtype}, expected {self.dtype}"
        fits = array.ndim == len(self.shape) and all(
            isinstance(want, str) or want == got for want, got in zip(self.shape, array.shape, strict=True)
        )
        return None if fits else f"tensor '{self.name}' has shape {list(array.shape)}, expected {list(self.shape)}"


def brief(batch: Mapping[str, Array]) -> str:
    """For a message: what is in a batch."""
    return ", ".join(f"{name}: {array.dtype} {list(array.shape)}" for name, array in batch.items())


def misfit(batch: Mapping[str, Array], specs: Sequence[TensorSpec]) -> str | None:
    """Say how a batch differs from the inputs of a graph, or None when it fits."""
    for spec in specs:
        problem = spec.mismatch(batch[spec.name]) if spec.name in batch else f"tensor '{spec.name}' is missing"
        if problem:
            return problem
    unknown = batch.keys() - {spec.name for spec in specs}
    if unknown:
        return f"it has no input {', '.join(sorted(unknown))}"
    lengths = {spec.name: len(batch[spec.name]) for spec in specs if spec.shape and isinstance(spec.shape[0], str)}
    return f"its inputs have unlike numbers of rows: {lengths}" if len(set(lengths.values())) > 1 else None


def stack(rows: Sequence[Mapping[str, Array]]) -> Tensors:
    """Join rows of equal shape into one batch: [...] each -> [len(rows), ...]."""
    if len(rows) == 1:
        return {name: array[np.newaxis] for name, array in rows[0].items()}  # a view: a tenth of the time
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def unstack(batch: Mapping[str, Array]) -> list[Tensors]:
    """Split a batch into its rows: [n, ...] -> n of [...]."""
    num_rows = len(next(iter(batch.values())))
    return [{name: array[i] for name, array in batch.items()} for i in range(num_rows)]


def group_alike(rows: Sequence[Mapping[str, Array]]) -> list[list[int]]:
    """Indices of rows that may share a batch: a list for each shape, in order of first appearance."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(tuple(array.shape for array in row.values()), []).append(i)
    return list(groups.values())


def max_abs_error(expected: Array, got: Array) -> float:
    """Largest absolute difference; infinite where shapes differ or a value is not finite."""
    return _error(expected, got, np.max)


def mean_abs_error(expected: Array, got: Array) -> float:
    """Mean absolute difference; infinite where shapes differ or a value is not finite."""
    return _error(expected, got, np.mean)


def _error(expected: Array, got: Array, of: Callable[[Array], Any]) -> float:
    if expected.shape != got.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    error = float(of(np.abs(expected.astype(np.float64) - got.astype(np.float64))))
    return error if np.isfinite(error) else float("inf")
