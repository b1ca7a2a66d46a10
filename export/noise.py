"""Inputs that no training or calibration has seen, for parity: noise and the extremes of each kind's range.

Knows kinds of preprocessing. Knows nothing of what is computed from the rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bundle.golden import Golden
from bundle.preprocess import ImageResize, Preprocess, Series, TextTokens
from bundle.tensors import Tensors

SEED = 20260102  # the proof is repeatable; no training or calibration draws from it
FAR = 10  # standard deviations: an outlier of a series


def noise(preprocess: Preprocess, golden: list[Golden], count: int) -> list[Tensors]:
    """`count` (at least 3) rows; the first two are the extremes."""
    return NOISE[preprocess.kind](preprocess, golden, count, np.random.default_rng(SEED))


def _pictures(spec: ImageResize, _: list[Golden], count: int, rng: np.random.Generator) -> list[Tensors]:
    """Black, white, and uniform noise."""
    shape = (spec.height_px, spec.width_px, spec.channels)
    drawn = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count - 2)]
    return [{"image": image} for image in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), *drawn)]


def _series(spec: Series, golden: list[Golden], count: int, rng: np.random.Generator) -> list[Tensors]:
    """All zeros, far outliers, and noise as wide as the golden series."""
    known = np.stack([sample.inputs["series"] for sample in golden])
    mean, std = float(known.mean()), float(known.std())
    drawn = [rng.normal(mean, std, spec.num_steps) for _ in range(count - 2)]
    rows = [np.zeros(spec.num_steps), np.full(spec.num_steps, mean + FAR * std), *drawn]
    return [{"series": row.astype(np.float32)} for row in rows]


def _tokens(spec: TextTokens, _: list[Golden], count: int, rng: np.random.Generator) -> list[Tensors]:
    """One token, a full row, and random ids of random lengths; every tensor in the order of the spec."""
    longest = min(spec.max_tokens, 4 * spec.pad_to_multiple)
    lengths = [1, spec.max_tokens, *rng.integers(1, longest + 1, count - 2).tolist()]
    return [spec.row(rng.integers(0, spec.vocab_size, length).tolist()) for length in lengths]


NOISE: dict[str, Callable[[Any, list[Golden], int, np.random.Generator], list[Tensors]]] = {
    "image-resize": _pictures,
    "series": _series,
    "text-tokens": _tokens,
}
"""By kind of preprocessing."""
