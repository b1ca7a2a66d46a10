"""One scoring job from its settings to its summary; everything is joined here.

Knows every part of scoring. Knows nothing of command lines.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from bundle.errors import BadInput, DataError, RunError
from bundle.manifest import Manifest
from bundle.store import Bundle
from bundle.tasks import TASKS
from runtime.choice import Choice, Wanted, choose
from runtime.cpus import available_cpus
from runtime.devices import device_info, installed_version
from runtime.runtime import Placement
from scoring.claim import Check, claim
from scoring.columns import IN_COLUMNS, IN_FILES, schema
from scoring.journal import SUMMARY_FILE, Finished, Job, Journal
from scoring.listing import matches
from scoring.loaded import open_as_named, quantiles_ms, with_slots
from scoring.local import LocalRunner, Told
from scoring.parts import Format
from scoring.progress import Progress, shown
from scoring.scorer import Scorer, cheapest_batch, read_options
from scoring.shard_scorer import Work
from scoring.shards import Cut, chunks
from scoring.source import Columns, Source, open_source
from scoring.store import Place, clear_unfinished, place
from scoring.tally import Tally
from scoring.target import Target
from scoring.versions import deciding_versions

CHUNK_TENSOR_BYTES = 8 * 2**20
"""Of prepared inputs, at most, in one chunk."""
MAX_CHUNK_ROWS = 512
CHUNK_MS = 1000.0
"""Of one worker on one chunk: what is lost at most when a job is ended, and how long the last worker is alone."""
CPUS_BESIDE_A_GPU = 4
"""Threads that prepare for one GPU of a cluster, where nobody says how many."""


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
    runner: Literal["local", "ray"] = "local"
    ray_address: str = "auto"
    ray_actors: tuple[int, int] | None = None
    """At least, at most."""


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
    _check_shares(settings)
    if settings.runner == "ray" and find_spec("ray") is None:
        raise RunError("--runner ray: module 'ray' is not installed; pip install 'modelyard[scoring-ray]'")
    bundle = open_as_named(settings.bundle)
    manifest = bundle.manifest
    task = TASKS[manifest.task]
    options = read_options(task(manifest.decode).options_type, settings.options)
    choice = choose(bundle, device_info(settings.placement), settings.wanted, installed_version)
    where, output = place(settings.input), place(settings.output)
    _refuse_inside(where, output)
    source = open_source(where, manifest.preprocess.kind, settings.columns)
    in_files = settings.pictures == "files"
    columns = schema(task(manifest.decode).result_type, source.kept, IN_FILES if in_files else IN_COLUMNS)
    cut = Cut(settings.rows_per_shard, chunk_rows(manifest, choice), settings.limit, settings.sample)
    target = Target(output, Journal(output), columns, settings.format, settings.pictures)
    job = _job(settings, manifest, choice, source, str(where), cut)
    target.journal.goes_on(job)
    return Plan(bundle, choice, source, cut, target, job, options)


def _check_shares(settings: Settings) -> None:
    if settings.sample is not None and not 0 < settings.sample <= 1:
        raise BadInput(f"--sample is {settings.sample:g}; a share lies over 0, and is at most 1")
    if not 0 <= settings.max_error_share <= 1:
        raise BadInput(f"--max-error-share is {settings.max_error_share:g}; a share lies between 0 and 1")
    for name in ("limit", "rows_per_shard", "workers"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise BadInput(f"--{name.replace('_', '-')} is {value}; it is at least 1")


def _refuse_inside(where: Place, output: Place) -> None:
    """What a job writes must never become what it reads."""
    mine = (output.path, output.below("part-00000-00000.parquet").path)
    if where.scheme == output.scheme and any(matches(where, path) for path in mine):
        raise DataError(f"{output}: the output lies inside of the input {where}; name a folder outside of it")


def _job(settings: Settings, manifest: Manifest, choice: Choice, source: Source, where: str, cut: Cut) -> Job:
    return Job(
        bundle=f"{manifest.name}/{manifest.version}",
        digest=manifest.digest,
        artefact=choice.artefact,
        runtime=choice.runtime,
        device=f"{choice.device.kind}: {choice.device.name}",
        input=where,
        input_digest=source.digest,
        columns=list(settings.columns.inputs),
        keep=dict(settings.columns.keep),
        options=sorted(settings.options),
        format=f"{settings.format}, pictures in {settings.pictures}",
        rows_per_shard=cut.rows_per_shard,
        rows_per_chunk=cut.rows_per_chunk,
        batch_size=cheapest_batch(choice, manifest.max_batch_size),
        limit=cut.limit,
        sample=cut.sample,
        versions=deciding_versions(choice.runtime),
    )


def chunk_rows(manifest: Manifest, choice: Choice) -> int:
    """Rows of a chunk: whole batches, as many as a worker does in about a second and its memory holds."""
    batch = cheapest_batch(choice, manifest.max_batch_size)
    longest = getattr(manifest.preprocess, "max_tokens", 1)
    row_bytes = 1
    for spec in manifest.inputs:
        sizes = [size if isinstance(size, int) else longest for size in spec.shape[1:]]
        row_bytes += int(np.prod(sizes, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
    row_ms = choice.latency.median_ms[batch] / batch if choice.latency else 0.0
    fitting = min(MAX_CHUNK_ROWS, CHUNK_TENSOR_BYTES // row_bytes, int(CHUNK_MS / max(row_ms, 1e-3)))
    return max(batch, fitting // batch * batch)


def score(settings: Settings) -> Summary:
    """Do the job, or go on with it, and write its summary.

    Raises:
        ModelyardError: what is wrong; finished shards stay finished.
    """
    planned = plan(settings)
    target = planned.target
    with claim(target.output) as check:
        clear_unfinished(target.output)
        try:
            with RUNNERS[settings.runner](settings, planned) as run:
                return _score(settings, planned, run, check)
        finally:
            clear_unfinished(target.output)


Run = Callable[[Finished, Tally, Told], Sequence[float]]
"""Scores all that is not finished, and counts it; milliseconds of every batch."""


@contextmanager
def _here(settings: Settings, planned: Plan) -> Iterator[Run]:
    """On this machine."""
    scorer = Scorer(planned.bundle, planned.choice, with_slots(settings.placement), planned.options)

    def run(finished: Finished, tally: Tally, told: Told) -> Sequence[float]:
        runner = LocalRunner(scorer, settings.workers or available_cpus(), told)
        todo = chunks(planned.source, planned.cut, finished)
        runner.run(planned.source, todo, planned.target, tally, settings.max_error_share)
        return scorer.batch_ms

    yield run


@contextmanager
def _on_ray(settings: Settings, planned: Plan) -> Iterator[Run]:
    """On a cluster, where each actor sees one GPU at most, and calls it 0."""
    cluster: Any = import_module("scoring.cluster")  # only who asks for Ray pays for it
    placement = replace(with_slots(settings.placement), index=0)
    cpus = settings.workers or (CPUS_BESIDE_A_GPU if placement.device == "cuda" else 1)
    work = Work(
        planned.bundle, planned.choice, placement, planned.options, planned.source, planned.cut, planned.target,
        planned.job, cpus,
    )  # fmt: skip
    wish = cluster.Wish(settings.ray_address, settings.ray_actors)

    def run(finished: Finished, tally: Tally, told: Told) -> Sequence[float]:
        batch_ms: Sequence[float] = cluster.RayRunner(work, wish, told).run(finished, tally, settings.max_error_share)
        return batch_ms

    with cluster.connected(settings.ray_address):
        yield run


RUNNERS = {"local": _here, "ray": _on_ray}


def _score(settings: Settings, planned: Plan, run: Run, check: Check) -> Summary:
    began = time.monotonic()
    finished = planned.target.journal.begin(planned.job)
    tally = Tally.of(finished.values())
    progress = Progress(planned.job.bundle, _total(planned), tally.num_rows)

    def told(num_rows: int, errors: Counter[str]) -> None:
        check()
        progress(num_rows, errors)

    with shown(progress, settings.metrics_port, settings.push_gateway, "modelyard-score"):
        batch_ms = run(finished, tally, told)
    summary = _summary(planned, batch_ms, tally, time.monotonic() - began)
    if tally.rows_now or not planned.target.output.below(SUMMARY_FILE).exists():  # else it tells of the run that did it
        planned.target.journal.write(SUMMARY_FILE, summary)
    return summary


def _total(planned: Plan) -> int | None:
    """Rows that will be written, as far as that is known."""
    total = planned.source.num_rows
    if total is None:
        return None
    total = total if planned.cut.limit is None else min(total, planned.cut.limit)
    return round(total * (planned.cut.sample or 1))


def _summary(planned: Plan, batch_ms: Sequence[float], tally: Tally, seconds: float) -> Summary:
    p50_ms, p99_ms = quantiles_ms(batch_ms)
    manifest = planned.bundle.manifest
    return Summary(
        model=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        artefact=planned.choice.artefact,
        runtime=planned.choice.runtime,
        device=str(planned.choice.device),
        num_rows=tally.num_rows,
        num_errors=tally.num_errors,
        errors=dict(sorted(tally.errors.items())),
        num_parts=tally.num_parts,
        rows_now=tally.rows_now,
        seconds=round(seconds, 3),
        rows_per_s=round(tally.rows_now / max(seconds, 1e-9), 1),
        batch_size=planned.job.batch_size,
        batch_p50_ms=p50_ms,
        batch_p99_ms=p99_ms,
    )
