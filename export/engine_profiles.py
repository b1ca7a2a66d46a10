"""Optimisation profiles of an engine: for which batch sizes and lengths TensorRT chooses its kernels.

One profile a band of the batch ladder (1; 2..8; 9..32), so that a single input does not run what was tuned for 32.
Knows tensor specs and kinds of preprocessing. Knows nothing of TensorRT.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bundle.errors import RuntimeFailed
from bundle.preprocess import Preprocess
from bundle.tensors import TensorSpec

RUNGS = (1, 8, 32, 128, 512)
"""Ends of bands; the largest batch of the manifest is the last."""


@dataclass(frozen=True)
class Range:
    """Sizes of one axis: the least, the one to be fastest at, the most."""

    least: int
    best: int
    most: int

    def __str__(self) -> str:
        """For a message: "2..8", "16..512 (best 128)"."""
        if self.least == self.most:
            return str(self.most)
        return f"{self.least}..{self.most}" + (f" (best {self.best})" if self.best != self.most else "")


Profile = dict[str, tuple[Range, ...]]
"""Input -> the range of each axis."""


def profiles(preprocess: Preprocess, max_batch_size: int) -> list[Profile]:
    """A profile a band of the batch ladder, each for every length that preprocessing gives.

    Raises:
        RuntimeFailed: an axis is dynamic for which no sizes are known.
    """
    return [_profile(preprocess, batch) for batch in bands(max_batch_size)]


def bands(max_batch_size: int) -> list[Range]:
    """The ladder up to a largest batch: 32 -> 1; 2..8; 9..32."""
    ends = [0, *(rung for rung in RUNGS if rung < max_batch_size), max_batch_size]
    return [Range(below + 1, end, end) for below, end in pairwise(ends)]


def _profile(preprocess: Preprocess, batch: Range) -> Profile:
    return {
        spec.name: tuple(_axis(preprocess, spec, size, batch) for size in spec.shape)
        for spec in preprocess.input_specs()
    }


def _axis(preprocess: Preprocess, spec: TensorSpec, size: int | str, batch: Range) -> Range:
    if isinstance(size, int):
        return Range(size, size, size)
    if size == "batch":
        return batch
    if size not in AXES:
        raise RuntimeFailed(
            f"input '{spec.name}' has a dynamic axis '{size}', for which no engine can be sized; "
            f"known are batch, {', '.join(AXES)}: add its range to export/engine_profiles.py"
        )
    return AXES[size](preprocess)


def _tokens(preprocess: Any) -> Range:
    """From the shortest padded row to the longest, which is what costs."""
    return Range(preprocess.padded(1), preprocess.max_tokens, preprocess.max_tokens)


AXES: dict[str, Callable[[Preprocess], Range]] = {"tokens": _tokens}
"""Dynamic axis besides the batch -> its sizes, as preprocessing gives them."""


def check_profile(profile: Profile, inputs: dict[str, tuple[int, ...]]) -> None:
    """Hold a profile to a network's inputs (name -> shape, -1 where dynamic).

    TensorRT overlooks other names and batches of 0, and speaks of the rest in numbers of dimensions.

    Raises:
        RuntimeFailed: names the input, the axis, what was given and what is expected.
    """
    if set(profile) != set(inputs):
        raise RuntimeFailed(f"the profile is for inputs {sorted(profile)}, the graph has {sorted(inputs)}")
    for name, shape in inputs.items():
        if len(profile[name]) != len(shape):
            raise RuntimeFailed(
                f"the profile gives input '{name}' {len(profile[name])} axes, the graph has {len(shape)}: {list(shape)}"
            )
        for axis, (sizes, fixed) in enumerate(zip(profile[name], shape, strict=True)):
            _check_axis(f"input '{name}', axis {axis}", sizes, fixed)


def _check_axis(where: str, sizes: Range, fixed: int) -> None:
    given = f"least {sizes.least}, best {sizes.best}, most {sizes.most}"
    if not 1 <= sizes.least <= sizes.best <= sizes.most:
        raise RuntimeFailed(f"the profile of {where} is {given}; expected 1 <= least <= best <= most")
    if fixed >= 0 and (sizes.least, sizes.most) != (fixed, fixed):
        raise RuntimeFailed(f"the profile of {where} is {given}; the graph has {fixed} there, always")
