"""What is built and proven for one device, beside a bundle: `<bundle>/engines/`, or a folder of the node's own.

A bundle is sealed where it was exported. What another machine adds (a TensorRT plan, the proof that an artefact gives
its answers on that GPU) is a *record*: one JSON file an artefact, a runtime and a device, bound to the bundle's digest.
A record of another device, another version of the runtime or another bundle is never used.

Knows files and documents. Knows nothing of engines or devices themselves.
"""

import os
import tempfile
from pathlib import Path
from typing import Literal, Self, TypeVar

import msgspec
from pydantic import Field, ValidationError

from bundle.device import DeviceInfo
from bundle.errors import BundleError
from bundle.evidence import Check, CheckKind, Latency, shortfall
from bundle.manifest import FilePath, digest_of
from bundle.spec import Sha256, Spec, problems
from bundle.store import Bundle, sha256_of

D = TypeVar("D", bound=Spec)

FOLDER = "engines"
SHORT_NAMES = {"onnxruntime": "ort", "tensorrt": "trt"}
DEVICE_CHECKS: tuple[CheckKind, ...] = ("names", "axes", "shapes", "values", "decoded")
"""What every proof on a device has. The metric on the test split is known from the export; a device that has the data
at hand measures it again."""


class DeviceEvidence(Spec):
    """The proof of one artefact in one runtime on one device."""

    proven_against: str
    """Whose answers these are the same as."""
    checks: tuple[Check, ...]
    num_samples: int = Field(ge=1)
    """Inputs whose decoded answers were compared."""
    latency: Latency
    parallel: Latency | None = None
    """All processors on one batch, on a CPU that has several: serving chooses its layout by it."""
    measured_with: dict[str, str]

    def shortfall(self) -> str | None:
        """Why this is no proof, or None."""
        return shortfall(self.checks, DEVICE_CHECKS)


class EngineRecord(Spec):
    """One artefact, ready to run in one runtime on one device."""

    schema_version: Literal[1] = 1
    bundle_digest: Sha256
    artefact: str
    artefact_sha256: Sha256
    runtime: str
    """Key of RUNTIMES."""
    runtime_version: str
    device: DeviceInfo
    file: FilePath | None = None
    """The plan, beside the record; None where the artefact itself is run."""
    sha256: Sha256 | None = None
    """Of the plan."""
    built_with: dict[str, str] = Field(default_factory=dict)
    """Options of the builder, for people."""
    evidence: DeviceEvidence
    digest: str = ""
    """sha256 of this record without this field."""

    @property
    def stem(self) -> str:
        """Its file name without the ending."""
        return record_stem(self.artefact, self.runtime, self.runtime_version, self.device)

    def sealed(self) -> Self:
        """The same record with its digest filled in."""
        return self.model_copy(update={"digest": digest_of(self.model_dump(mode="json"))})


def record_stem(artefact: str, runtime: str, runtime_version: str, device: DeviceInfo) -> str:
    """`nvidia-h200-trt11.4.0.fp16`: GPU, runtime and version, artefact."""
    return f"{device.slug}-{SHORT_NAMES.get(runtime, runtime)}{runtime_version}.{artefact}"


def engines_folder(bundle: Bundle, cache: Path | None = None) -> Path:
    """Where a bundle's records and plans lie: in the bundle, or below a cache, by name, version and digest."""
    if cache is None:
        return bundle.folder / FOLDER
    manifest = bundle.manifest
    return cache / manifest.name / f"{manifest.version}-{manifest.digest[:12]}"


def write_record(folder: Path, record: EngineRecord) -> Path:
    """Put a record beside its plan, whole or not at all; returns its path.

    Raises:
        BundleError: the folder cannot be written to, or the record's parts make no file name.
    """
    if "/" in record.stem or "\0" in record.stem:  # a bundle's maker names its artefacts
        raise BundleError(f"{folder}: {record.stem!r} cannot be a record's file name")
    return write_document(folder / f"{record.stem}.json", record.sealed())


def write_document(path: Path, document: Spec) -> Path:
    """Write a sidecar so that a reader sees the old one or the new one, never half of it.

    Raises:
        BundleError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(document.model_dump_json(indent=1) + "\n")
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as cause:
        raise BundleError(f"{path}: cannot be written: {cause.strerror}; name another folder with --engines") from None
    return path


def read_records(bundle: Bundle, cache: Path | None = None) -> tuple[list[EngineRecord], list[str]]:
    """Records of this very bundle, and what is wrong with the others there, a line each.

    Hashes of plans are not checked here but by `plan_path`, when one is about to be loaded.
    """
    records: list[EngineRecord] = []
    wrong: list[str] = []
    for path in sorted(engines_folder(bundle, cache).glob("[!.]*.json")):
        if path.name.endswith(".tune.json"):
            continue
        try:
            record = read_document(path, EngineRecord, "prove or build it again")
            _check(bundle, path, record)
            records.append(record)
        except BundleError as cause:
            wrong.append(str(cause))
    return records, wrong


def read_document(path: Path, form: type[D], remedy: str) -> D:
    """Read a sidecar that carries a digest of itself; `remedy` is what to do about one that was changed.

    Raises:
        BundleError: it cannot be read, is of another form, or was changed after it was written.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
        document = form.model_validate_json(msgspec.json.encode(content))
    except ValidationError as cause:
        raise BundleError(f"{path}: {problems(cause)}") from None
    except (OSError, msgspec.MsgspecError, RecursionError) as cause:
        raise BundleError(f"{path}: cannot be read: {cause}") from None
    if content.get("digest") != digest_of(content):
        raise BundleError(f"{path}: its content does not match its digest; {remedy}")
    return document


def _check(bundle: Bundle, path: Path, record: EngineRecord) -> None:
    manifest = bundle.manifest
    if record.bundle_digest != manifest.digest:
        raise BundleError(f"{path}: it was made for another bundle (digest {record.bundle_digest[:12]})")
    artefact = manifest.artefacts.get(record.artefact)
    if artefact is None or manifest.files[artefact.file] != record.artefact_sha256:
        raise BundleError(f"{path}: the bundle has no artefact '{record.artefact}' with its sha256")
    lacking = record.evidence.shortfall()
    if lacking:
        raise BundleError(f"{path}: {record.artefact} in {record.runtime} is not proven on {record.device}: {lacking}")
    if (record.file is None) != (record.sha256 is None):
        raise BundleError(f"{path}: file and sha256 of a plan go together")


def plan_path(folder: Path, record: EngineRecord) -> Path:
    """The plan of a record, its hash checked.

    Raises:
        BundleError: it is missing, or is not the file that was proven.
    """
    if record.file is None:
        raise BundleError(f"{folder}/{record.stem}.json: names no plan")
    path = folder / record.file
    try:
        found = sha256_of(path)
    except OSError as cause:
        raise BundleError(f"{path}: cannot be read: {cause.strerror}; run `modelyard build-engine` again") from None
    if found != record.sha256:
        raise BundleError(
            f"{path}: its sha256 is {found}, its record says {record.sha256}: it was changed or damaged; "
            "run `modelyard build-engine` again"
        )
    return path
