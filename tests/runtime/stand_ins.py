"""Small real runtimes that show what a Predictor asks of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bundle.manifest import Manifest
from bundle.preprocess import load_preprocess
from bundle.tensors import Array, Tensors, TensorSpec
from runtime.predictor import Predictor
from runtime.runtime import Runtime

IMAGE = (TensorSpec(name="image", dtype="uint8", shape=("batch", "height", "width", 3)),)
SCORES = (TensorSpec(name="scores", dtype="float32", shape=("batch", 3)),)


def predictor_around(manifest: Manifest, runtime: Runtime) -> Predictor:
    """A predictor whose preparing needs no files."""
    return Predictor(manifest, runtime, load_preprocess(manifest.preprocess, Path()))


class RecordingRuntime:
    """Remembers the shape of every batch; scores of a row come from its mean brightness."""

    inputs = IMAGE
    outputs = SCORES
    dead_because = ""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: Tensors) -> Tensors:
        self.shapes.append(batch["image"].shape)
        return {"scores": np.stack([scores_of(image) for image in batch["image"]])}


class FixedRuntime:
    """Gives the same scores for every row, whatever it is, changed by the size of the batch if so wished."""

    inputs = IMAGE
    outputs = SCORES
    dead_because = ""

    def __init__(self, scores: tuple[float, ...], in_a_batch: Callable[[Array, int], Array] | None = None) -> None:
        self._scores = np.array(scores, np.float32)
        self._in_a_batch = in_a_batch or (lambda scores, num_rows: scores)

    def run(self, batch: Tensors) -> Tensors:
        num_rows = len(batch["image"])
        return {"scores": np.stack([self._in_a_batch(self._scores, num_rows)] * num_rows)}


def scores_of(image: Array) -> Array:
    brightness = float(image.mean()) / 255
    return np.array([brightness / 2, brightness / 2, 1 - brightness], np.float32)
