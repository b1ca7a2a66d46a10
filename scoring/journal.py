"""What a job has done, beside its output: enough to go on after any crash, and to refuse what does not go on.

`_job.json` says what the job is; `_done/<part>.json` that a shard is finished, written after its part. Knows places
and documents. Knows nothing of scoring.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
from pyarrow import fs

from bundle.errors import DataError
from scoring.store import Place, put, reason

JOB_FILE = "_job.json"
SUMMARY_FILE = "_summary.json"
DONE = "_done"
READ_AT_ONCE = 16


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
    batch_size: int
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
    num_bytes: int = 0
    """Of its part."""


Finished = dict[tuple[int, int], Done]
"""By (file, shard)."""


@dataclass(frozen=True)
class Journal:
    """The documents of one output."""

    output: Place

    def begin(self, job: Job) -> Finished:
        """Write down the job, or go on with it: what is finished already.

        Raises:
            DataError: another job's output lies there, or something that is no output.
        """
        if not self.goes_on(job):
            self.write(JOB_FILE, job)
            return {}
        return {(done.file, done.shard): done for done in self._finished()}

    def goes_on(self, job: Job) -> bool:
        """Whether a job of this kind began here; nothing is written.

        Raises:
            DataError: another job's output lies there, or something that is no output.
        """
        found = self._read(JOB_FILE)
        if found is None:
            self._refuse_foreign()
            return False
        before = _decode(found, Job, str(self.output.below(JOB_FILE)))
        differing = [name for name in Job.__struct_fields__ if getattr(before, name) != getattr(job, name)]
        if differing:
            name = differing[0]
            raise DataError(
                f"{self.output}: it holds another job's output: {name} was {getattr(before, name)!r}, now "
                f"{getattr(job, name)!r}{_and_more(differing)}; name a new output, or remove that one"
            )
        return True

    def finish(self, name: str, done: Done) -> None:
        """A shard's part is there."""
        self.write(f"{DONE}/{name}.json", done)

    def write(self, name: str, document: Any) -> None:
        """Put a document, whole or not at all.

        Raises:
            DataError: the store does not take it.
        """
        put(self.output, name, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")

    def _finished(self) -> list[Done]:
        names = sorted(name for name in self._sizes(DONE) if name.endswith(".json"))
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            contents = pool.map(lambda name: self._read(f"{DONE}/{name}") or b"", names)
            found: list[Done] = [
                _decode(content, Done, str(self.output.below(f"{DONE}/{name}")))
                for name, content in zip(names, contents, strict=True)
            ]
        sizes = self._sizes()
        for name, done in zip(names, found, strict=True):
            if done.part and sizes.get(done.part) != done.num_bytes:
                now = f"has {sizes[done.part]} bytes" if done.part in sizes else "is gone"
                raise DataError(
                    f"{self.output}: part {done.part} was finished with {done.num_bytes} bytes, and {now}; to have it "
                    f"again, remove {DONE}/{name}"
                )
        return found

    def _sizes(self, folder: str = "") -> dict[str, int]:
        """Files directly in a folder of the output."""
        path = self.output.below(folder).path.rstrip("/")
        selected = self.output.files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return {one.base_name: one.size for one in selected if one.type == fs.FileType.File}

    def _refuse_foreign(self) -> None:
        info = self.output.info()
        if info.type == fs.FileType.File:
            raise DataError(f"{self.output}: it is a file; name a folder")
        selector = fs.FileSelector(self.output.path, allow_not_found=True)
        try:
            strangers = [one.base_name for one in self.output.files.get_file_info(selector) if _is_foreign(one)]
        except OSError as cause:
            raise DataError(f"{self.output}: cannot be listed: {reason(cause)}") from None
        if strangers:
            raise DataError(
                f"{self.output}: the folder is not empty ({min(strangers)}), and no scoring job wrote it; "
                "name a new one"
            )

    def _read(self, name: str) -> bytes | None:
        where = self.output.below(name)
        try:
            with where.files.open_input_stream(where.path) as stream:
                content: bytes = stream.read()
                return content
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as cause:
            raise DataError(f"{where}: cannot be read: {reason(cause)}") from None


def _is_foreign(info: Any) -> bool:
    """Whatever is no document of ours; an object store may list the folder itself."""
    return bool(info.base_name) and not info.base_name.startswith("_")


def _decode(content: bytes, kind: type[Any], where: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as cause:
        raise DataError(f"{where}: it is not what this version writes: {cause}; name a new output") from None


def _and_more(differing: list[str]) -> str:
    return f" (and {', '.join(differing[1:])})" if len(differing) > 1 else ""
