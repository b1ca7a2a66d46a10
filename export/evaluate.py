"""The test split from the raw bytes, through an artefact, against what its reference answers.

Knows samples, answers and a task's metric. Knows nothing of how the artefact was made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from bundle.errors import ParityError
from bundle.evidence import Check
from bundle.preprocess import Prepare
from bundle.tasks import Task
from bundle.tensors import Compute
from export.tolerance import Tolerance
from training.answers import answer
from training.data import Samples


@dataclass(frozen=True)
class Reference:
    """Whose answers every artefact must give, and on what that is shown."""

    what: str
    """For people: "the checkpoint", "the PyTorch model" ..."""
    compute: Compute
    samples: Samples
    score: Callable[[Sequence[Any], list[Any]], dict[str, float]]
    """Figures of typed answers beside the samples' targets."""
    metric_name: str
    better: Literal["max", "min"]


@dataclass(frozen=True)
class Evaluation:
    """The answers to every sample and the metric they earn."""

    answers: Sequence[msgspec.Struct]
    metric: float


def evaluate(reference: Reference, compute: Compute, prepare: Prepare, task: Task[Any, Any]) -> Evaluation:
    """Answer the reference's samples by `compute`: the reference's own, or an artefact's through a Predictor."""
    samples = reference.samples
    answers = answer(samples, prepare, compute, task)
    figures = reference.score(answers, [samples.target(i) for i in range(len(samples))])
    return Evaluation(answers, figures[reference.metric_name])


def check_evaluation(
    task: Task[Any, Any], reference: Reference, want: Evaluation, got: Evaluation, tolerance: Tolerance
) -> list[Check]:
    """Hold an artefact's answers and metric to the reference's.

    Raises:
        ParityError: names how many answers differ (and the first), or by how much the metric dropped.
    """
    num_samples = len(want.answers)
    differing = [
        f"sample {i}: {reason}"
        for i, (expected, have) in enumerate(zip(want.answers, got.answers, strict=True))
        if (reason := task.agree(expected, have, tolerance.answer_atol))
    ]
    decoded = Check(
        kind="decoded",
        subject=f"share of {num_samples} test answers that differ, ties aside",
        value=len(differing) / num_samples,
        limit=tolerance.disagreement_share,
    )
    if not decoded.passed:
        raise ParityError(f"{decoded}; first: {differing[0]}")
    drop = (want.metric - got.metric) * (1 if reference.better == "max" else -1)
    metric = Check(
        kind="metric",
        subject=f"drop of {reference.metric_name} on the test split, {want.metric:.4f} -> {got.metric:.4f}",
        value=drop,
        limit=tolerance.max_metric_drop,
    )
    if not metric.passed:
        raise ParityError(str(metric))
    return [decoded, metric]
