"""Generated series for a load test's model: sums of two waves, and some with a step in them.

Knows numbers. Knows nothing of models.
"""

from typing import Literal

import numpy as np

from bundle.tensors import Array
from training.data.samples import DataConfig, Splits
from training.data.series import SeriesRows

NUM_STEPS = 140
LABELS = ("even", "broken")
SEED = 20261122


class Waves(DataConfig):
    """Even ones in train; validation and test have broken ones too."""

    dataset: Literal["generated-waves"] = "generated-waves"

    def load(self) -> Splits:
        """The same series every time."""
        rng = np.random.default_rng(SEED)
        return Splits(LABELS, _series(rng, 80, 0), _series(rng, 30, 20), _series(rng, 20, 20))


def _series(rng: np.random.Generator, num_even: int, num_broken: int) -> SeriesRows:
    count = num_even + num_broken
    at = np.linspace(0, 2 * np.pi, NUM_STEPS)
    phases, heights = rng.uniform(0, 2 * np.pi, (2, count, 1)), rng.uniform(0.5, 1.5, (2, count, 1))
    values: Array = sum(heights[i] * np.sin((i + 1) * at + phases[i]) for i in range(2))
    labels = np.repeat([0, 1], [num_even, num_broken])
    values[labels == 1, NUM_STEPS // 2 :] += 3
    return SeriesRows(np.round(values, 4), labels)
