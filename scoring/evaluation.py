"""A labelled data set through the code that serves, held to its truths by the metric that training and export use.

Memory holds counters and the few worst examples, besides what a metric itself keeps (boxes, scores). Knows labelled
rows, a scorer and a metric. Knows nothing of reports.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from bundle.errors import BadInput, DataError
from bundle.manifest import Manifest
from bundle.metrics import Metric, Table, metric_type
from bundle.metrics.average_precision import pycocotools
from runtime.choice import Wanted
from runtime.cpus import available_cpus
from runtime.runtime import Placement
from scoring.in_order import chunked, in_order
from scoring.job import chunk_rows
from scoring.labelled import Labelled, LabelledInput, labels_of, open_labelled
from scoring.largest import Largest
from scoring.loaded import Loaded, answered, fetch, load
from scoring.progress import Progress
from scoring.scorer import Raw, Scored
from scoring.source import Columns
from scoring.store import place
from scoring.told import brief, printable
from scoring.truths import NORMAL, NoTruth, Truth, seen_labels

MAX_LABELS = 1000
"""Different labels of the data that the model does not know; a column with more holds no labels."""


@dataclass(frozen=True)
class Settings:
    """What is to be evaluated."""

    bundle: Path
    input: str
    columns: Columns = Columns()  # noqa: RUF009 - frozen
    targets: tuple[str, ...] = ()
    placement: Placement = Placement()  # noqa: RUF009 - frozen
    wanted: Wanted = Wanted()  # noqa: RUF009 - frozen
    limit: int | None = None
    worst: int = 24
    workers: int | None = None


@dataclass(frozen=True)
class Example:
    """One row that went wrong."""

    source: str
    number: int
    raw: Raw
    truth: Any
    answer: msgspec.Struct


@dataclass
class Rows:
    """What became of every row."""

    read: int = 0
    judged: int = 0
    wrong: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """By cause: no label, unknown label, unreadable label, or the class of an input's error."""
    first: dict[str, str] = field(default_factory=dict)
    """By cause: the first such row, and its message."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Labels of the data that the model does not know: rows, or boxes."""
    boxes_left_out: int = 0
    seen: set[int] = field(default_factory=set)
    """Indices of the model's labels that the data have."""

    def leave_out(self, row: Labelled, cause: str, told: str) -> None:
        """Count a row without a figure."""
        self.left_out[cause] += 1
        where = f"{row.row.source}, row {row.row.number}"
        self.first.setdefault(cause, printable(f"{where}: {told}" if told else where))

    def count_unknown(self, label: str) -> None:
        """Count a label.

        Raises:
            DataError: there are too many to be labels.
        """
        if label not in self.unknown and len(self.unknown) >= MAX_LABELS:
            raise DataError(f"more than {MAX_LABELS} different labels that the model does not know, such as "
                            f"{', '.join(map(repr, list(self.unknown)[:3]))}: these are no labels; name their column "
                            "with --target")  # fmt: skip
        self.unknown[label] += 1


@dataclass(frozen=True)
class Evaluation:
    """All that came out."""

    loaded: Loaded
    about: str
    rows: Rows
    figures: dict[str, float]
    tables: list[Table]
    worst: list[tuple[float, Example]]
    """How wrong, and what; the worst first."""
    seconds: float

    def evidence(self) -> tuple[str, float, int] | None:
        """The metric that the bundle's own evidence has too: its name, the value there, and on how many samples."""
        evidence = self.loaded.manifest.artefacts[self.loaded.choice.artefact].evidence
        if evidence is None or evidence.metric_name not in self.figures or "artefact" not in evidence.metric:
            return None
        return evidence.metric_name, evidence.metric["artefact"], evidence.num_test_samples

    def never_seen(self) -> list[str]:
        """Labels of the model that no truth has."""
        return [label for i, label in enumerate(labels_of(self.loaded.manifest)) if i not in self.rows.seen]


def new_metric(manifest: Manifest) -> Metric:
    """The metric of a bundle's task.

    Raises:
        BadInput: it has none. RunError: what makes its figures is not installed.
    """
    make: Callable[..., Metric] = metric_type(manifest.task)
    match manifest.task:
        case "anomaly-detection":
            return make()
        case "series-anomaly-detection":
            return make(NORMAL)
        case "object-detection":
            pycocotools()  # nobody wants to know at the end that the figures cannot be made
            return make(labels_of(manifest), getattr(manifest.decode, "default_score_threshold", 0.5))
    return make(labels_of(manifest))


def evaluate(settings: Settings) -> Evaluation:
    """Answer every labelled row, and count.

    Raises:
        ModelyardError: what is wrong with the bundle, the input, or the two together.
    """
    if settings.limit is not None and settings.limit < 1:
        raise BadInput(f"--limit is {settings.limit}; it is at least 1")
    loaded = load(settings.bundle, settings.placement, settings.wanted)
    source = open_labelled(place(settings.input), loaded.manifest, settings.columns, settings.targets)
    began = time.monotonic()
    metric, rows, worst = new_metric(loaded.manifest), Rows(), Largest[Example](settings.worst)
    for one, judged in _judged(loaded, source, settings):
        _count(loaded.manifest, metric, rows, worst, one, judged)
    if not rows.judged:
        raise DataError(_nothing_judged(settings, rows, loaded.manifest))
    figures = {name: value for name, value in metric.figures().items() if math.isfinite(value)}
    seconds = time.monotonic() - began
    return Evaluation(loaded, source.about, rows, figures, metric.tables(), worst.items(), seconds)


Judged = tuple[Truth | NoTruth | None, Scored | None]
"""A row's truth (None: its input could not be had) and its answer (None: there was no truth to hold it to)."""


def _judged(loaded: Loaded, source: LabelledInput, settings: Settings) -> Iterator[tuple[Labelled, Judged]]:
    def work(chunk: list[Labelled]) -> list[tuple[Labelled, Judged]]:
        raws = [fetch(one.row.raw) for one in chunk]
        truths = [None if raw.error else one.truth(raw.content) for raw, one in zip(raws, chunk, strict=True)]
        wanted = [i for i, truth in enumerate(truths) if not isinstance(truth, NoTruth)]
        scored = answered(loaded.scorer, raws, wanted)
        return [(one, (truth, scored.get(i))) for i, (one, truth) in enumerate(zip(chunk, truths, strict=True))]

    manifest = loaded.manifest
    total = source.num_rows if settings.limit is None else min(settings.limit, source.num_rows or settings.limit)
    progress = Progress(f"{manifest.name}/{manifest.version}", total, 0)
    try:
        chunks = chunked(islice(source.rows(), settings.limit), chunk_rows(manifest, loaded.choice))
        for _, judged in in_order(chunks, work, settings.workers or available_cpus()):
            yield from judged
            progress(len(judged), Counter())
    finally:
        progress.close()


def _count(
    manifest: Manifest, metric: Metric, rows: Rows, worst: Largest[Example], one: Labelled, judged: Judged
) -> None:
    rows.read += 1
    truth, scored = judged
    if isinstance(truth, NoTruth):
        rows.leave_out(one, truth.cause, truth.told)
        if truth.cause == "unknown label":
            rows.count_unknown(truth.told)
        return
    if truth is None or scored is None or scored.answer is None:
        rows.leave_out(one, scored.cause if scored else "BadInput", scored.error if scored else "")
        return
    try:
        wrong = metric.add(scored.answer, truth.value)
    except BadInput as cause:
        rows.leave_out(one, "unreadable label", str(cause))
        return
    rows.judged += 1
    for label in truth.left_out:
        rows.count_unknown(label)
    rows.boxes_left_out += len(truth.left_out)
    rows.seen |= seen_labels(manifest, truth.value)
    if wrong > 0:
        rows.wrong += 1
        worst.add(wrong, Example(one.row.source, one.row.number, one.row.raw, truth.value, scored.answer))


def _nothing_judged(settings: Settings, rows: Rows, manifest: Manifest) -> str:
    if not rows.read:
        return f"{settings.input}: there are no rows"
    causes = "; ".join(f"{number} {cause} (first: {rows.first[cause]})" for cause, number in rows.left_out.items())
    labels = labels_of(manifest)
    known = f"; the model knows {brief(list(labels))}" if labels and rows.unknown else ""
    there = f"; the data have {brief(list(rows.unknown))}" if rows.unknown else ""
    return f"{settings.input}: none of {rows.read} rows can be judged: {causes}{there}{known}"
