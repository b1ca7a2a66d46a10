"""Two models on one data set: where their answers differ, by what the task itself calls different.

Two versions of a model, or two artefacts of a bundle. Memory holds counters and the few largest differences. Knows
rows and two scorers. Knows nothing of truths or reports.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from bundle.errors import BadInput, DataError
from runtime.choice import Wanted
from runtime.cpus import available_cpus
from runtime.runtime import Placement
from scoring.apart import MEASURED, apart
from scoring.in_order import chunked, in_order
from scoring.job import chunk_rows
from scoring.labelled import labels_of
from scoring.largest import Largest
from scoring.loaded import Loaded, fetch, load
from scoring.progress import Progress
from scoring.scorer import Raw, Scored
from scoring.source import Columns, Row, Source, open_source
from scoring.store import place
from scoring.told import brief, printable

MAX_AGREEING = 6
"""Examples of answers that agree."""
EMBEDDING = "sentence-embedding"


@dataclass(frozen=True)
class Settings:
    """What is to be compared."""

    one: Path
    other: Path
    input: str
    columns: Columns = Columns()  # noqa: RUF009 - frozen
    placement: Placement = Placement()  # noqa: RUF009 - frozen
    wanted: tuple[Wanted, Wanted] = (Wanted(), Wanted())
    atol: float | None = None
    limit: int | None = None
    examples: int = 24
    workers: int | None = None


@dataclass(frozen=True)
class Difference:
    """One row that the two answer differently."""

    source: str
    number: int
    raw: Raw
    answers: tuple[msgspec.Struct, msgspec.Struct]
    reason: str


@dataclass
class Rows:
    """What became of every row."""

    read: int = 0
    both: int = 0
    """Answered by both."""
    differing: int = 0
    within_proof: int = 0
    """Of those that differ: no more than the errors that both artefacts are proven to explain."""
    errors: Counter[str] = field(default_factory=Counter)
    """Rows that only the one, only the other, or neither could answer."""
    first: dict[str, str] = field(default_factory=dict)
    sum_apart: float = 0.0
    max_apart: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """All that came out."""

    one: Loaded
    other: Loaded
    about: str
    atol: float
    proven_atol: float
    rows: Rows
    largest: list[tuple[float, Difference]]
    """Of the answers that differ."""
    agreeing: list[tuple[float, Difference]]
    """Of those that do not, the few that are farthest apart."""
    seconds: float

    @property
    def share(self) -> float:
        """Of the rows that both answer, how many they answer differently."""
        return self.rows.differing / self.rows.both

    @property
    def measured(self) -> str:
        """What says how far two answers are apart."""
        return MEASURED[self.one.manifest.task]

    def label_differences(self) -> list[str]:
        """Labels that only one of them has, in words."""
        mine, theirs = labels_of(self.one.manifest), labels_of(self.other.manifest)
        only = (("A", [one for one in mine if one not in theirs]), ("B", [one for one in theirs if one not in mine]))
        return [f"only {who} has {brief(labels)}" for who, labels in only if labels]


def compare(settings: Settings) -> Comparison:
    """Answer every row twice.

    Raises:
        ModelyardError: what is wrong with a bundle, the input, or with comparing these two.
    """
    if settings.limit is not None and settings.limit < 1:
        raise BadInput(f"--limit is {settings.limit}; it is at least 1")
    one, other = (
        load(path, settings.placement, wanted)
        for path, wanted in zip((settings.one, settings.other), settings.wanted, strict=True)
    )
    _check_comparable(one, other)
    proven = one.choice.atol + other.choice.atol
    is_embedding = one.manifest.task == EMBEDDING  # vectors decide nothing: without a limit every two would differ
    atol = settings.atol if settings.atol is not None else proven if is_embedding else 0.0
    source = open_source(place(settings.input), one.manifest.preprocess.kind, settings.columns)
    began = time.monotonic()
    rows, largest = Rows(), Largest[Difference](settings.examples)
    agreeing = Largest[Difference](min(settings.examples, MAX_AGREEING))
    judge = partial(_judge, one, atol, proven)
    for judged in _judged(one, other, judge, source, settings):
        _count(rows, largest, agreeing, judged)
    if not rows.both:
        raise DataError(_nothing_answered(settings, rows))
    about = f"{settings.input}: {source.about}"
    return Comparison(
        one, other, about, atol, proven, rows, largest.items(), agreeing.items(), time.monotonic() - began
    )


def _check_comparable(one: Loaded, other: Loaded) -> None:
    tasks = [loaded.manifest.task for loaded in (one, other)]
    if tasks[0] != tasks[1]:
        names = [f"{loaded.manifest.name}/{loaded.manifest.version}" for loaded in (one, other)]
        raise BadInput(f"{names[0]} is for {tasks[0]}, {names[1]} for {tasks[1]}; only models of one task are compared")


@dataclass(frozen=True)
class Judged:
    """A row, what the two answer, and how that differs."""

    row: Row
    scored: tuple[Scored, Scored]
    apart: float = 0.0
    reason: str | None = None
    is_within_proof: bool = False


def _judge(one: Loaded, atol: float, proven: float, row: Row, scored: tuple[Scored, Scored]) -> Judged:
    mine, theirs = (found.answer for found in scored)
    if mine is None or theirs is None:
        return Judged(row, scored)
    threshold = getattr(one.manifest.decode, "default_score_threshold", 0.0)
    far = apart(one.manifest.task, mine, theirs, threshold)
    reason = one.task.agree(mine, theirs, atol)
    return Judged(row, scored, far, reason, reason is not None and one.task.agree(mine, theirs, proven) is None)


def _judged(
    one: Loaded,
    other: Loaded,
    judge: Callable[[Row, tuple[Scored, Scored]], Judged],
    source: Source,
    settings: Settings,
) -> Iterator[Judged]:
    def work(chunk: list[Row]) -> list[Judged]:
        raws = [fetch(row.raw) for row in chunk]
        return list(map(judge, chunk, zip(one.scorer(raws), other.scorer(raws), strict=True)))

    total = source.num_rows if settings.limit is None else min(settings.limit, source.num_rows or settings.limit)
    progress = Progress(f"{one.manifest.name} and {other.manifest.name}", total, 0)
    rows = (row for i in range(len(source.files)) for row in source.rows(i, 0))
    size = min(chunk_rows(one.manifest, one.choice), chunk_rows(other.manifest, other.choice))
    try:
        chunks = chunked(islice(rows, settings.limit), size)
        for _, judged in in_order(chunks, work, settings.workers or available_cpus()):
            yield from judged
            progress(len(judged), Counter())
    finally:
        progress.close()


def _count(rows: Rows, largest: Largest[Difference], agreeing: Largest[Difference], judged: Judged) -> None:
    rows.read += 1
    row, (mine, theirs) = judged.row, judged.scored
    if mine.answer is None or theirs.answer is None:
        who = "only A" if mine.answer is not None else "only B" if theirs.answer is not None else "neither"
        rows.errors[who] += 1
        rows.first.setdefault(who, printable(f"{row.source}, row {row.number}: {mine.error or theirs.error}"))
        return
    rows.both += 1
    rows.sum_apart += judged.apart
    rows.max_apart = max(rows.max_apart, judged.apart)
    rows.differing += judged.reason is not None
    rows.within_proof += judged.is_within_proof
    if judged.reason is not None or judged.apart > 0:
        found = Difference(row.source, row.number, row.raw, (mine.answer, theirs.answer), judged.reason or "they agree")
        (agreeing if judged.reason is None else largest).add(judged.apart, found)


def _nothing_answered(settings: Settings, rows: Rows) -> str:
    if not rows.read:
        return f"{settings.input}: there are no rows"
    causes = "; ".join(f"{number} answered by {who} (first: {rows.first[who]})" for who, number in rows.errors.items())
    return f"{settings.input}: none of {rows.read} rows is answered by both: {causes}"
