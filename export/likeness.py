"""How like two models' answers are: the metric of an imported model, which comes without labelled samples.

Knows answers of tasks. Knows nothing of who gave them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Likeness:
    """The metric of a task: 1 where an artefact answers as the reference does."""

    metric_name: str
    part: Callable[[Any], Any]
    """What of an answer is compared."""
    mean: Callable[[list[Any], list[Any]], float]

    def score(self, answers: Sequence[Any], targets: list[Any]) -> dict[str, float]:
        """Answers against the same parts of the reference's answers."""
        return {self.metric_name: self.mean([self.part(one) for one in answers], targets)}


def _mean_cosine(got: list[Any], want: list[Any]) -> float:
    one, other = (np.array(vectors, np.float64) for vectors in (got, want))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(np.mean(np.sum(one * other, axis=1) / lengths))


def _agreement(got: list[Any], want: list[Any]) -> float:
    return float(np.mean([one == other for one, other in zip(got, want, strict=True)]))


LIKENESS = {
    "sentence-embedding": Likeness("mean_cosine", lambda one: one.embedding, _mean_cosine),
    "text-classification": Likeness("agreement", lambda one: one.label, _agreement),
}
"""By task."""
