"""What a job has done, beside its output: enough to go on after any crash, and to refuse what does not go on.

`_job.json` says what the job is; `_done/<part>.json` that a shard is finished, written after its part. Knows places
and documents. Knows nothing of scoring.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from pyarrow import fs

from bundle.errors import DataError
from scoring.store import Place

JOB_FILE = "_job.json"
SUMMARY_FILE = "_summary.json"
DONE = "_done"


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes a job the same job: another value anywhere gives another output."""

    bundle: str
    """Name and version."""
    digest: str
    """Of the bundle."""
    artefact: str
    runtime: str
    device: str
    input: str
    input_digest: str
    columns: list[str]
    keep: dict[str, str]
    options: list[str]
    format: str
    rows_per_shard: int
    rows_per_chunk: int
    limit: int | None
    sample: float | None
    versions: dict[str, str]


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finished shard."""

    file: int
    shard: int
    num_read: int
    """Rows of the input that it covers."""
    num_scored: int
    errors: dict[str, int]
    """Rows with an error, by its class."""
    part: str = ""
    """Name of its part; empty where it has no rows."""


@dataclass(frozen=True)
class Journal:
    """The documents of one output."""

    output: Place

    def begin(self, job: Job) -> dict[tuple[int, int], Done]:
        """Write down the job, or go on with it: finished shards by (file, shard).

        Raises:
            DataError: another job's output lies there, or something that is no output.
        """
        found = self._read(JOB_FILE)
        if found is None:
            if self._is_foreign():
                raise DataError(
                    f"{self.output.given}: the folder is not empty, and no scoring job wrote it; name a new one"
                )
            self.write(JOB_FILE, job)
            return {}
        before = _decode(found, Job, self.output.below(JOB_FILE).given)
        differing = [name for name in Job.__struct_fields__ if getattr(before, name) != getattr(job, name)]
        if differing:
            name = differing[0]
            raise DataError(
                f"{self.output.given}: it holds another job's output: {name} was {getattr(before, name)!r}, now "
                f"{getattr(job, name)!r}{_and_more(differing)}; name a new output, or remove that one"
            )
        return {(done.file, done.shard): done for done in self._finished()}

    def finish(self, name: str, done: Done) -> None:
        """A shard's part is there."""
        self.write(f"{DONE}/{name}.json", done)

    def num_parts(self) -> int:
        """Shards that are finished and have rows."""
        return sum(1 for done in self._finished() if done.part)

    def write(self, name: str, document: Any) -> None:
        """Put a document, whole or not at all.

        Raises:
            DataError: the store does not take it.
        """
        final, draft = self.output.below(name), self.output.below(f"_unfinished/{name.rpartition('/')[2]}")
        try:
            if self.output.is_local:
                for path in (final.path, draft.path):
                    self.output.files.create_dir(path.rpartition("/")[0], recursive=True)
            with self.output.files.open_output_stream(draft.path) as stream:
                stream.write(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
            self.output.files.move(draft.path, final.path)
        except OSError as cause:
            raise DataError(f"{final.given}: cannot be written: {cause}") from None

    def _finished(self) -> list[Done]:
        selector = fs.FileSelector(self.output.below(DONE).path, allow_not_found=True)
        names = [info.base_name for info in self.output.files.get_file_info(selector)]
        found = [_decode(self._read(f"{DONE}/{name}") or b"", Done, name) for name in sorted(names)]
        there = {info.base_name for info in self.output.files.get_file_info(fs.FileSelector(self.output.path))}
        lost = [done.part for done in found if done.part and done.part not in there]
        if lost:
            raise DataError(
                f"{self.output.given}: part {lost[0]} was finished and is gone; to have it again, remove its "
                f"document in {DONE}/"
            )
        return found

    def _is_foreign(self) -> bool:
        found = self.output.files.get_file_info(fs.FileSelector(self.output.path, allow_not_found=True))
        return any(not info.base_name.startswith("_") for info in found)

    def _read(self, name: str) -> bytes | None:
        try:
            with self.output.files.open_input_stream(self.output.below(name).path) as stream:
                content: bytes = stream.read()
                return content
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise DataError(f"{self.output.below(name).given}: cannot be read: {cause}") from None


def _decode(content: bytes, kind: type[Any], where: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as cause:
        raise DataError(f"{where}: it is not what this version writes: {cause}; name a new output") from None


def _and_more(differing: list[str]) -> str:
    return f" (and {', '.join(differing[1:])})" if len(differing) > 1 else ""
