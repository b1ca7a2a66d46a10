"""The test split through a Predictor, from the raw bytes, against what the checkpoint answers.

Knows a Predictor, samples and a task's metric. Knows nothing of how the artefact was made.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from bundle.errors import ParityError
from bundle.evidence import Check
from export.tolerance import Tolerance
from runtime.cpus import available_cpus
from runtime.predictor import Predictor
from training.checkpoint import forward_rows
from training.data import Samples
from training.graph import Graph
from training.tasks import TrainingTask

CHUNK = 256


@dataclass(frozen=True)
class Evaluation:
    """The answers to every test sample and the metric they earn."""

    answers: Sequence[msgspec.Struct]
    metric: float


def evaluate_checkpoint(graph: Graph, predictor: Predictor, samples: Samples, task: TrainingTask) -> Evaluation:
    """The checkpoint's own answers: the same preparing and decoding, torch in the middle."""
    names = tuple(spec.name for spec in predictor.manifest.outputs)
    options = predictor.task.golden_options()
    answers: list[msgspec.Struct] = []
    for raws in _chunks(samples):
        prepared = _prepare(predictor, raws)
        rows = forward_rows(graph, [one.tensors for one in prepared], names)
        answers += [predictor.decode(row, one, options) for row, one in zip(rows, prepared, strict=True)]
    return Evaluation(answers, task.score(answers, _targets(samples)))


def evaluate_artefact(predictor: Predictor, samples: Samples, task: TrainingTask) -> Evaluation:
    """An artefact's answers, by the very calls that scoring and serving make."""
    options = predictor.task.golden_options()
    answers: list[msgspec.Struct] = []
    for raws in _chunks(samples):
        prepared = _prepare(predictor, raws)
        rows = predictor.run([one.tensors for one in prepared])
        answers += [predictor.decode(row, one, options) for row, one in zip(rows, prepared, strict=True)]
    return Evaluation(answers, task.score(answers, _targets(samples)))


def check_evaluation(
    predictor: Predictor,
    reference: Evaluation,
    got: Evaluation,
    tolerance: Tolerance,
    metric_name: str,
    higher_wins: bool,
) -> list[Check]:
    """Hold an artefact's answers and metric to the checkpoint's.

    Raises:
        ParityError: names how many answers differ (and the first), or by how much the metric dropped.
    """
    num_samples = len(reference.answers)
    differing = [
        f"sample {i}: {reason}"
        for i, (want, have) in enumerate(zip(reference.answers, got.answers, strict=True))
        if (reason := predictor.task.agree(want, have, _tie_atol(tolerance)))  # type: ignore[arg-type]
    ]
    decoded = Check(
        kind="decoded",
        subject=f"share of {num_samples} test answers that differ, ties aside",
        value=len(differing) / num_samples,
        limit=tolerance.disagreement_share,
    )
    if not decoded.passed:
        raise ParityError(f"{decoded}; first: {differing[0]}")
    drop = (reference.metric - got.metric) * (1 if higher_wins else -1)
    metric = Check(
        kind="metric",
        subject=f"drop of {metric_name} on the test split, {reference.metric:.4f} -> {got.metric:.4f}",
        value=drop,
        limit=tolerance.max_metric_drop,
    )
    if not metric.passed:
        raise ParityError(str(metric))
    return [decoded, metric]


def _tie_atol(tolerance: Tolerance) -> float:
    """Only what fp32 arithmetic can swap counts as a tie, whatever the artefact's own precision is allowed."""
    return min(tolerance.atol, tolerance.batch_atol)


def _chunks(samples: Samples) -> list[list[bytes]]:
    starts = range(0, len(samples), CHUNK)
    return [[samples.raw(i) for i in range(start, min(start + CHUNK, len(samples)))] for start in starts]


def _targets(samples: Samples) -> list[Any]:
    return [samples.target(i) for i in range(len(samples))]


def _prepare(predictor: Predictor, raws: list[bytes]) -> list[Any]:
    with ThreadPoolExecutor(available_cpus()) as pool:
        return list(pool.map(predictor.prepare, raws))
