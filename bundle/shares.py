"""Statistics of many answers: every answer counts into bins, and the bins' shares of the sum are the statistic.

So what the test split gave and what live traffic gives are compared bin by bin. Knows counts. Knows nothing of answers.
"""

from collections.abc import Iterable

import numpy as np

from bundle.tensors import Array

Counts = dict[str, Array]
"""Name of a statistic -> float64, what was counted in each of its bins."""

NUM_SCORE_BINS = 10


def count_scores(scores: Iterable[float]) -> Array:
    """Scores from 0 to 1 in ten equal bins; rounding may leave 1.0000001."""
    clipped = np.clip(list(scores), 0.0, 1.0)
    return np.histogram(clipped, bins=NUM_SCORE_BINS, range=(0.0, 1.0))[0].astype(np.float64)


def count_one(index: int, num_bins: int) -> Array:
    """One in one bin."""
    counts = np.zeros(num_bins)
    counts[index] = 1.0
    return counts


def sums(counted: Iterable[Counts]) -> Counts:
    """What several answers counted together."""
    totals: Counts = {}
    for counts in counted:
        for name, bins in counts.items():
            totals[name] = totals[name] + bins if name in totals else bins
    return totals


def shares(totals: Counts) -> dict[str, list[float]]:
    """Every statistic as its bins' shares, which sum to 1."""
    return {name: (bins / bins.sum()).tolist() for name, bins in totals.items()}
