"""A few figures of a prepared input that move when a camera, a sensor or the users change.

One line a kind of preprocessing. Knows prepared tensors. Knows nothing of models or answers.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bundle.preprocess import ImageSource, Prepared, SeriesSource, Source, TextSource
from bundle.tensors import Tensors


def brightness(tensors: Tensors) -> dict[str, float]:
    """Mean pixel value, 0 to 255."""
    return {"brightness": float(tensors["image"].mean())}


def tokens(tensors: Tensors) -> dict[str, float]:
    """How many tokens the model reads, special ones included."""
    return {"tokens": float(tensors["attention_mask"].sum())}


def mean_and_spread(tensors: Tensors) -> dict[str, float]:
    """Mean and standard deviation of the values."""
    values = tensors["series"].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # tensors hold whatever bits their sender put there
        return {"mean": float(values.mean()), "spread": float(values.std())}


class Kind(NamedTuple):
    """What is known of one kind of prepared input."""

    statistics: Callable[[Tensors], dict[str, float]]
    source: Callable[[Tensors], Source]
    """Stands for the source of an input that came as tensors: the picture is as large as what was prepared."""


KINDS: dict[str, Kind] = {
    "image-resize": Kind(brightness, lambda tensors: ImageSource(*tensors["image"].shape[:2])),
    "series": Kind(mean_and_spread, lambda tensors: SeriesSource(len(tensors["series"]))),
    "text-tokens": Kind(tokens, lambda tensors: TextSource(int(tensors["attention_mask"].sum()), truncated=False)),
}
"""Kind of preprocessing -> its figures."""


def source_of(prepared: Prepared, kind: str) -> Source:
    """Where an input came from; one that came as tensors has no source of its own."""
    return prepared.source or KINDS[kind].source(prepared.tensors)
