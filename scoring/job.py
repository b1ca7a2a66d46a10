"""One scoring job from its settings to its summary; everything is joined here.

Knows every part of scoring. Knows nothing of command lines.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.store import Bundle, newest, open_bundle
from bundle.tasks import TASKS
from runtime.choice import Choice, Wanted, choose
from runtime.cpus import available_cpus
from runtime.devices import device_info, installed_version
from runtime.runtime import Placement
from scoring.claim import claim
from scoring.columns import IN_COLUMNS, IN_FILES, schema
from scoring.journal import SUMMARY_FILE, Done, Job, Journal
from scoring.local import LocalRunner, Tally, Target
from scoring.parts import Format
from scoring.progress import Progress, shown
from scoring.scorer import Scorer, read_options
from scoring.shards import Cut, chunks
from scoring.source import Columns, Source, open_source
from scoring.store import place

CHUNK_TENSOR_BYTES = 16 * 2**20
"""Of prepared inputs, at most, in one chunk."""
MAX_CHUNK_ROWS = 512


@dataclass(frozen=True)
class Settings:
    """What one job is to do."""

    bundle: Path
    input: str
    output: str
    columns: Columns = Columns()  # noqa: RUF009 - frozen
    format: Format = "parquet"
    pictures: Literal["columns", "files"] = "columns"
    options: tuple[str, ...] = ()
    placement: Placement = Placement()  # noqa: RUF009 - frozen
    wanted: Wanted = Wanted()  # noqa: RUF009 - frozen
    rows_per_shard: int = 10_000
    limit: int | None = None
    sample: float | None = None
    max_error_share: float = 1.0
    workers: int | None = None
    metrics_port: int | None = None
    push_gateway: str | None = None


class Summary(msgspec.Struct, frozen=True):
    """What a job has done, in all its runs and in this one."""

    model: str
    version: int
    digest: str
    artefact: str
    runtime: str
    device: str
    num_rows: int
    num_errors: int
    errors: dict[str, int]
    num_parts: int
    rows_now: int
    """Written by this run; the rest was there."""
    seconds: float
    rows_per_s: float
    batch_size: int
    batch_p50_ms: float | None
    batch_p99_ms: float | None


@dataclass(frozen=True)
class Plan:
    """A job that could begin now."""

    bundle: Bundle
    choice: Choice
    source: Source
    cut: Cut
    target: Target
    job: Job
    options: Any


def plan(settings: Settings) -> Plan:
    """Check everything that can be checked before anything is written.

    Raises:
        BundleError, DataError, BadInput, RuntimeFailed: what is wrong with what was asked for.
    """
    if settings.sample is not None and not 0 < settings.sample <= 1:
        raise BadInput(f"--sample is {settings.sample:g}; a share lies over 0, and is at most 1")
    bundle = open_bundle(settings.bundle if (settings.bundle / "manifest.json").exists() else newest(settings.bundle))
    manifest = bundle.manifest
    task = TASKS[manifest.task]
    options = read_options(task(manifest.decode).options_type, settings.options)
    choice = choose(bundle, device_info(settings.placement), settings.wanted, installed_version)
    source = open_source(place(settings.input), manifest.preprocess.kind, settings.columns)
    output = place(settings.output)
    in_files = settings.pictures == "files"
    columns = schema(task(manifest.decode).result_type, source.kept, IN_FILES if in_files else IN_COLUMNS)
    cut = Cut(settings.rows_per_shard, chunk_rows(manifest), settings.limit, settings.sample)
    target = Target(output, Journal(output), columns, settings.format, settings.pictures)
    return Plan(bundle, choice, source, cut, target, _job(settings, manifest, choice, source, cut), options)


def _job(settings: Settings, manifest: Manifest, choice: Choice, source: Source, cut: Cut) -> Job:
    return Job(
        bundle=f"{manifest.name}/{manifest.version}",
        digest=manifest.digest,
        artefact=choice.artefact,
        runtime=choice.runtime,
        device=str(choice.device),
        input=settings.input,
        input_digest=source.digest,
        columns=list(settings.columns.inputs),
        keep=dict(settings.columns.keep),
        options=list(settings.options),
        format=f"{settings.format}, pictures in {settings.pictures}",
        rows_per_shard=cut.rows_per_shard,
        rows_per_chunk=cut.rows_per_chunk,
        limit=cut.limit,
        sample=cut.sample,
        versions={name: version(name) for name in ("modelyard", "pyarrow")}
        | {choice.runtime: installed_version(choice.runtime) or ""},
    )


def chunk_rows(manifest: Manifest) -> int:
    """Rows of a chunk: a whole number of the largest batches, as many as fit into the bytes that a chunk may hold."""
    longest = getattr(manifest.preprocess, "max_tokens", 1)
    row_bytes = 0
    for spec in manifest.inputs:
        sizes = [size if isinstance(size, int) else longest for size in spec.shape[1:]]
        row_bytes += int(np.prod(sizes, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
    largest = manifest.max_batch_size
    return max(largest, min(MAX_CHUNK_ROWS, CHUNK_TENSOR_BYTES // max(row_bytes, 1)) // largest * largest)


def score(settings: Settings) -> Summary:
    """Do the job, or go on with it, and write its summary.

    Raises:
        ModelyardError: what is wrong; finished shards stay finished.
    """
    planned = plan(settings)
    with claim(planned.target.output):
        finished = planned.target.journal.begin(planned.job)
        began = time.monotonic()
        scorer = Scorer(planned.bundle, planned.choice, settings.placement, planned.options)
        already = sum(done.num_scored for done in finished.values())
        progress = Progress(planned.job.bundle, _total(planned), already)
        with shown(progress, settings.metrics_port, settings.push_gateway, f"modelyard-score-{planned.job.bundle}"):
            runner = LocalRunner(scorer, settings.workers or available_cpus(), progress)
            todo = chunks(planned.source, planned.cut, finished)
            tally = runner.run(planned.source, todo, planned.target, settings.max_error_share)
        summary = _summary(planned, scorer, finished, tally, time.monotonic() - began)
        planned.target.journal.write(SUMMARY_FILE, summary)
    return summary


def _total(planned: Plan) -> int | None:
    total = planned.source.num_rows()
    if total is None:
        return planned.cut.limit if planned.cut.sample is None else None
    total = total if planned.cut.limit is None else min(total, planned.cut.limit)
    return round(total * (planned.cut.sample or 1))


def _summary(
    planned: Plan, scorer: Scorer, finished: Mapping[tuple[int, int], Done], tally: Tally, seconds: float
) -> Summary:
    before = list(finished.values())
    errors = dict(tally.errors)
    for done in before:
        for cause, number in done.errors.items():
            errors[cause] = errors.get(cause, 0) + number
    quantiles = np.percentile(scorer.batch_ms, (50, 99)) if scorer.batch_ms else (None, None)
    manifest = planned.bundle.manifest
    return Summary(
        model=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        artefact=planned.choice.artefact,
        runtime=planned.choice.runtime,
        device=str(planned.choice.device),
        num_rows=tally.num_rows + sum(done.num_scored for done in before),
        num_errors=sum(errors.values()),
        errors=dict(sorted(errors.items())),
        num_parts=planned.target.journal.num_parts(),
        rows_now=tally.num_rows,
        seconds=round(seconds, 3),
        rows_per_s=round(tally.num_rows / max(seconds, 1e-9), 1),
        batch_size=scorer.batch_size,
        batch_p50_ms=None if quantiles[0] is None else round(float(quantiles[0]), 3),
        batch_p99_ms=None if quantiles[1] is None else round(float(quantiles[1]), 3),
    )
