"""What both anomaly tasks share: raw deviations -> bounded scores, where the threshold lies, and baselines.

A deviation is what a network gives: >= 0 at each place, near 0 where all is normal, without upper bound.
Knows torch and scikit-learn. Knows nothing of pictures, series or data sets.
"""

from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from bundle.tensors import Array
from training.graph import Graph, Inputs

SPREADS = 2.0  # a bell curve has 2.3 % of its normal samples beyond
EVALUATION_BATCH = 64
NUM_COMPONENTS = 8


def bounded(raw: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """r / (r + t): 0 to 1, rising with r, 0.5 at the threshold; a relative error of r is at least quartered."""
    return raw / (raw + threshold)


def threshold_of(raw_scores: torch.Tensor) -> torch.Tensor:
    """The raw score from which on a sample is anomalous, from held-out normal samples alone.

    Two standard deviations over the mean of the logarithms: raw scores are positive and skewed to the right, and two
    moments of a few dozen samples are steadier than their outermost quantiles.
    """
    logs = raw_scores.double().clamp_min(1e-12).log()
    return (logs.mean() + SPREADS * logs.std(correction=0)).exp().float()


def is_anomalous(targets: torch.Tensor) -> torch.Tensor:
    """bool [batch]: whether a sample has a place labelled 1."""
    return (targets.reshape(len(targets), -1) == 1).any(dim=1)


def deviations(graph: Graph, inputs: Inputs, chosen: torch.Tensor) -> torch.Tensor:
    """What the network gives for the samples where `chosen` (bool [samples]) is set."""
    rows = tuple(tensor[chosen] for tensor in inputs)
    with torch.inference_mode():
        batches = zip(*(tensor.split(EVALUATION_BATCH) for tensor in rows), strict=True)
        return torch.cat([graph.logits(batch) for batch in batches])


def baselines(train: Array, test: Array, truth: Any) -> dict[str, float]:
    """AUROC on test of two scores that need no network; rows are float [n, values], those of train normal.

    The distance to the mean training row; and to its projection on the first eight principal components.
    """
    pca = PCA(min(NUM_COMPONENTS, *train.shape), random_state=0).fit(train)
    rebuilt = pca.inverse_transform(pca.transform(test))
    return {
        "distance_to_mean": float(roc_auc_score(truth, np.square(test - train.mean(axis=0)).sum(axis=1))),
        "pca": float(roc_auc_score(truth, np.square(test - rebuilt).sum(axis=1))),
    }
