"""One shard after the other, on whatever machine: what an actor of a cluster does, with the code of a local job.

Before the first one it is made sure that this machine has the same bundle, versions, device, input and output as the
one that planned the job. Knows jobs, and how they are scored. Knows nothing of clusters.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from bundle.errors import DataError, RunError
from bundle.store import Bundle, open_bundle
from runtime.choice import Choice
from runtime.devices import device_info
from runtime.runtime import Placement
from scoring.journal import JOB_FILE, Done, Job
from scoring.local import LocalRunner
from scoring.scorer import Scorer
from scoring.shards import Cut, Shard, shard_chunks
from scoring.source import Row, Source
from scoring.tally import Tally
from scoring.target import Target
from scoring.versions import deciding_versions


@dataclass(frozen=True)
class Work:
    """A planned job, as it travels to those who do it."""

    bundle: Bundle
    choice: Choice
    placement: Placement
    options: Any
    source: Source
    cut: Cut
    target: Target
    job: Job
    workers: int
    """Threads of one of them."""


class Report(msgspec.Struct, frozen=True):
    """What became of one shard."""

    done: Done
    example: str
    """Its first bad row."""
    batch_ms: list[float]


class ShardScorer:
    """Has the model loaded, and remembers how far it has read: shards come in rising order, as a rule."""

    def __init__(self, work: Work) -> None:
        """Check this machine, and load the model.

        Raises:
            RunError, DataError, BundleError, RuntimeFailed: this machine cannot do the work; the message names it.
        """
        _check_machine(work)
        self._work = work
        self._scorer = Scorer(work.bundle, work.choice, work.placement, work.options)
        self._runner = LocalRunner(self._scorer, work.workers, lambda num_rows, errors: None)
        self._reader: _Reader | None = None

    def __call__(self, shard: Shard) -> Report:
        """Score and write one shard.

        Raises:
            DataError, DeviceLost: as they say.
        """
        work, tally = self._work, Tally()
        _check_output(work)
        begun = len(self._scorer.batch_ms)
        reader, self._reader = self._reader_at(shard), None
        todo = shard_chunks(reader, work.cut, shard.file, shard.shard, shard.wanted)
        (done,) = self._runner.run(work.source, todo, work.target, tally, 1.0)
        self._reader = reader
        return Report(done, tally.example, list(self._scorer.batch_ms[begun:]))

    def _reader_at(self, shard: Shard) -> "_Reader":
        """From where the last shard ended, if nothing else leads there: a compressed text is read once, not often."""
        start = shard.shard * self._work.cut.rows_per_shard
        reader = self._reader
        if self._work.source.in_place or reader is None or reader.file != shard.file or reader.number > start:
            return _Reader(self._work.source, shard.file, start)
        for _ in islice(reader, start - reader.number):
            pass  # rows of shards that others do
        return reader


class _Reader:
    """Rows of one file, and the number of the next one."""

    def __init__(self, source: Source, file: int, start: int) -> None:
        self.file, self.number = file, start
        self._rows = source.rows(file, start)

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        row = next(self._rows)
        self.number += 1
        return row


def _check_machine(work: Work) -> None:
    here = socket.gethostname()
    mine = deciding_versions(work.choice.runtime)
    for name, expected in work.job.versions.items():
        if mine[name] != expected:
            raise RunError(
                f"node {here} has {name} {mine[name] or '(not installed)'}, and the job was planned with "
                f"{expected or '(none)'}: outputs could differ; run one image on all nodes"
            )
    device = device_info(work.placement)
    if (device.kind, device.name) != (work.choice.device.kind, work.choice.device.name):
        raise RunError(
            f"node {here} has a {device.kind} '{device.name}', and the job is for '{work.choice.device.name}': "
            "outputs could differ; use nodes of one kind, the one that starts the job among them"
        )
    digest = open_bundle(work.bundle.folder).manifest.digest
    if digest != work.job.digest:
        raise RunError(
            f"node {here} has another bundle in {work.bundle.folder} (digest {digest[:12]}, expected "
            f"{work.job.digest[:12]}); bundles lie on storage that all nodes see, or in their image"
        )
    try:
        work.source.check_seen()
    except DataError as cause:
        raise DataError(f"node {here} does not see the input: {cause}; put it on storage that all nodes see") from None
    _check_output(work)


def _check_output(work: Work) -> None:
    """An output that is not this job's is never written to: this node sees another disk, or the job is over."""
    if not work.target.journal.goes_on(work.job):
        raise DataError(
            f"node {socket.gethostname()} does not see the output: {work.target.output.below(JOB_FILE)} is not there; "
            "put it on storage that all nodes see"
        )
