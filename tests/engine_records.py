"""What another machine leaves beside a bundle: plans and records for GPUs that nobody has, made in milliseconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundle.device import DeviceInfo
from bundle.engines import DEVICE_CHECKS, DeviceEvidence, EngineRecord, engines_folder, write_record
from bundle.evidence import Check, Latency
from bundle.manifest import Artefact
from bundle.store import Bundle, open_bundle, sha256_of
from tests.builders import FAKE_FILE, write_fake_bundle

GPU = DeviceInfo(kind="cuda", name="NVIDIA Q100", compute_capability="9.0")
OTHER_GPU = DeviceInfo(kind="cuda", name="NVIDIA Q40", compute_capability="8.9")
CPU = DeviceInfo(kind="cpu", name="Invented 9000", num_cpus=2)
INSTALLED = {"tensorrt": "11.4.0", "onnxruntime": "1.31.1", "fake": ""}

installed: Callable[[str], str | None] = INSTALLED.get
"""A machine that has both engines."""


def write_gpu_bundle(repository: Path, name: str = "fake", **changes: Any) -> Bundle:
    """A bundle with an artefact of every kind, all of them the fake runtime's one file."""
    like = open_bundle(write_fake_bundle(repository / ".like", name)).manifest.artefacts["fp32"]
    artefacts = {
        "fp32": like,
        "int8": _artefact(like, 0.05, precision="int8", device="cpu"),
        "fp16": _artefact(like, 0.2, precision="fp16", device="cuda"),
        "int8-trt": _artefact(like, 0.3, precision="int8", device="cuda"),
    }
    chosen = {"artefacts": artefacts, "default_artefact": "int8", **changes}
    return open_bundle(write_fake_bundle(repository, name, **chosen))


def _artefact(like: Artefact, ms: float, **changes: Any) -> Artefact:
    assert like.evidence is not None
    evidence = like.evidence.model_copy(update={"latency": Latency(threads=1, median_ms={1: ms})})
    return like.model_copy(update={"evidence": evidence, **changes})


def record_of(
    bundle: Bundle,
    artefact: str = "fp16",
    runtime: str = "tensorrt",
    ms: float | dict[int, float] = 1.0,
    device: DeviceInfo = GPU,
    **changes: Any,
) -> EngineRecord:
    """A proof of an artefact in a runtime, without any plan."""
    evidence = DeviceEvidence(
        proven_against="the checkpoint it was exported from",
        checks=tuple(Check(kind=kind, subject="everything", value=0.0, limit=0.0) for kind in DEVICE_CHECKS),
        num_samples=3,
        latency=Latency(threads=1, median_ms=ms if isinstance(ms, dict) else {1: ms}),
        measured_with={},
    )
    record = EngineRecord(
        bundle_digest=bundle.manifest.digest,
        artefact=artefact,
        artefact_sha256=bundle.manifest.files[bundle.manifest.artefacts[artefact].file],
        runtime=runtime,
        runtime_version=INSTALLED[runtime],
        device=device,
        evidence=evidence,
    )
    return record.model_copy(update=changes)


def prove(bundle: Bundle, artefact: str = "fp16", runtime: str = "onnxruntime", **told: Any) -> EngineRecord:
    """Leave a proof of an artefact that is run as it is; `told` goes to `record_of`."""
    cache = told.pop("cache", None)
    record = record_of(bundle, artefact, runtime, **told)
    write_record(engines_folder(bundle, cache), record)
    return record


def build(bundle: Bundle, artefact: str = "fp16", plan: bytes = b"", **told: Any) -> EngineRecord:
    """Leave an engine and its record; the plan is what the fake runtime reads. `told` goes to `record_of`."""
    cache = told.pop("cache", None)
    folder = engines_folder(bundle, cache)
    record = record_of(bundle, artefact, "tensorrt", **told)
    file = folder / f"{record.stem}.plan"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(plan or (bundle.folder / FAKE_FILE).read_bytes())
    record = record.model_copy(update={"file": file.name, "sha256": sha256_of(file)})
    write_record(folder, record)
    return record


def plan_of(bundle: Bundle, record: EngineRecord, cache: Path | None = None) -> Path:
    """Where a record's plan lies."""
    assert record.file is not None
    return engines_folder(bundle, cache) / record.file
