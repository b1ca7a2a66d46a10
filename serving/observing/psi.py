"""Population stability index: how far live answers have moved from those on the test split, bin by bin.

The sum of (live - reference) * ln(live / reference) over bins: 0 where both are alike, by custom a change worth a look
from 0.1 and a serious one from 0.25. Knows shares and counts. Knows nothing of what they are of.
"""

from collections.abc import Sequence

import numpy as np

from bundle.tensors import Array

NOTABLE, SERIOUS = 0.1, 0.25
MIN_SAMPLES = 100
MAX_BINS = 50
SAMPLES_A_BIN = 20
"""Two samples of one distribution differ by about (bins - 1) / samples: 0.05 at the most here, half of NOTABLE."""
SUM_ATOL = 1e-6


def is_distribution(reference: Sequence[float]) -> bool:
    """Whether a statistic can be compared: two bins or more that hold shares of one whole."""
    shares = np.asarray(reference, np.float64)
    return len(shares) > 1 and bool((shares >= 0).all()) and abs(float(shares.sum()) - 1) <= SUM_ATOL


def psi(reference: Sequence[float], counts: Array, num_reference: int) -> float:
    """The index of `counts`, or NaN where too little was counted to say anything.

    `num_reference` is the size of the sample that the reference came from. A bin in which nothing was seen is taken as
    half a sample, in either, so that one rare event is no infinity.
    """
    expected, seen = _groups(np.asarray(reference, np.float64), np.asarray(counts, np.float64))
    somewhere = (expected > 0) | (seen > 0)
    expected, seen, total = expected[somewhere], seen[somewhere], float(seen.sum())
    if total < max(MIN_SAMPLES, SAMPLES_A_BIN * (len(expected) - 1)):
        return float("nan")
    want = np.maximum(expected, 0.5 / max(num_reference, 1))
    have = np.maximum(seen / total, 0.5 / total)
    return float(np.sum((have - want) * np.log(have / want)))


def _groups(reference: Array, counts: Array) -> tuple[Array, Array]:
    """At most MAX_BINS bins: of more, neighbours are put together, about as much of the reference in each."""
    if len(reference) <= MAX_BINS:
        return reference, counts
    middles = np.cumsum(reference) - reference / 2
    group = np.minimum((middles * MAX_BINS).astype(np.int64), MAX_BINS - 1)
    return np.bincount(group, reference, MAX_BINS), np.bincount(group, counts, MAX_BINS)
