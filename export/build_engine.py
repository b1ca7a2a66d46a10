"""`modelyard build-engine`: artefacts -> TensorRT plans for this GPU, each proven on it, or deleted again.

An init container runs it on the node that will serve: what is there and valid is left as it is, two at once wait for
each other, and a plan has its name only once it is proven. Knows bundles, records, the builder and proof. Knows nothing
of the service.
"""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.device import DeviceInfo
from bundle.engines import EngineRecord, engines_folder, plan_path, read_records, record_stem, write_record
from bundle.errors import BundleError, RuntimeFailed
from bundle.store import Bundle
from export.device_proof import Bench, Candidate, Outcome, prepare_proof, prove_candidates, reference_predictor
from export.engine_profiles import Profile, profiles
from export.prove_device import TestSplitWanted, built_here, find_held_out, meant_for
from export.say import say
from export.tensorrt import BuildOptions, HardwareCompatibility, build_plan

RUNTIME = "tensorrt"
BUILDING = ".building-"
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Order:
    """What is to be built, and how."""

    artefacts: tuple[str, ...] = ()
    """Exactly these; all that are meant for GPUs, where none is named."""
    options: BuildOptions = field(default_factory=BuildOptions)
    again: bool = False
    """Build also what is there and valid."""
    engines: Path | None = None
    """A cache of engines and proofs outside of the bundle."""
    test_split: TestSplitWanted = "no"


@dataclass
class Built:
    """What became of an order."""

    there: list[Path] = field(default_factory=list)
    """Records that were there and valid."""
    written: list[Path] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    unbuilt: dict[str, str] = field(default_factory=dict)
    """Artefact -> why no plan could be built from it."""


def build_engines(bundle: Bundle, bench: Bench, trt: Any, order: Order) -> Built:
    """Build what is missing, prove it, and write it down; what cannot be built or proven is told in the result.

    Raises:
        BundleError: no such artefact, or a folder that cannot be written to. RuntimeFailed: TensorRT is not installed.
        DeviceLost: the GPU is gone for this process.
    """
    names = meant_for(bundle, bench.device.kind, order.artefacts)
    if bench.version(RUNTIME) is None:
        raise RuntimeFailed("TensorRT is not installed here: pip install 'modelyard[tensorrt]'")
    folder = engines_folder(bundle, order.engines)
    with _alone(folder):
        return _build(bundle, bench, trt, order, names, folder)


def _build(bundle: Bundle, bench: Bench, trt: Any, order: Order, names: list[str], folder: Path) -> Built:
    built = Built()
    valid = {} if order.again else _valid(bundle, bench, order.engines)
    built.there = [folder / f"{valid[name].stem}.json" for name in names if name in valid]
    for path in built.there:
        say(f"{path.name}: there and valid; --again builds it anew")
    candidates = []
    for name in names:
        if name not in valid:
            try:
                candidates.append(_candidate(bundle, bench, trt, order, name, folder))
            except RuntimeFailed as cause:
                say(f"'{name}': NOT BUILT: {cause}")
                built.unbuilt[name] = str(cause)
    try:
        if candidates:
            built.outcomes = _prove(bundle, bench, order, candidates)
        built.written = [_settle(bundle, bench, folder, one) for one in built.outcomes if one.evidence is not None]
    finally:
        for candidate in candidates:
            if candidate.path.name.startswith(BUILDING):
                candidate.path.unlink(missing_ok=True)
    return built


def _valid(bundle: Bundle, bench: Bench, engines: Path | None) -> dict[str, EngineRecord]:
    """By artefact: plans for this GPU and this TensorRT that are what was proven."""
    return {
        one.artefact: one
        for one in built_here(bundle, bench, engines)
        if one.runtime == RUNTIME and _untouched(bundle, one, engines)
    }


def _untouched(bundle: Bundle, record: EngineRecord, engines: Path | None) -> bool:
    try:
        plan_path(engines_folder(bundle, engines), record)
    except BundleError as cause:
        say(str(cause))
        return False
    return True


def _candidate(bundle: Bundle, bench: Bench, trt: Any, order: Order, name: str, folder: Path) -> Candidate:
    """A plan of another GPU that may run here too, or a new one under a hidden name.

    Raises:
        RuntimeFailed: it cannot be built.
    """
    level = order.options.hardware_compatibility
    plan = f"{plan_stem(name, bench.version(RUNTIME) or '', bench.device, level)}.plan"
    shared = None if order.again else _shared(bundle, bench, order.engines, name, plan)
    if shared:
        say(f"'{name}': {plan} was proven on {shared.device}; it is proven here too, not built again")
        return Candidate(name, RUNTIME, folder / plan, plan, shared.built_with)
    artefact = bundle.manifest.artefacts[name]
    say(f"'{name}': building an engine for {bench.device}")
    made = build_plan(trt, bundle.path(artefact), _profiles(bundle), order.options)
    say(f"'{name}': built in {made.built_with['seconds']} s, {len(made.content) / 1e6:.1f} MB")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=BUILDING, suffix=f".{name}.plan", delete=False) as file:
            file.write(made.content)
    except OSError as cause:
        raise BundleError(f"{folder}: the plan cannot be written: {cause.strerror}") from None
    return Candidate(name, RUNTIME, Path(file.name), plan, made.built_with)


def _profiles(bundle: Bundle) -> list[Profile]:
    return profiles(bundle.manifest.preprocess, bundle.manifest.max_batch_size)


def plan_stem(artefact: str, version: str, device: DeviceInfo, level: HardwareCompatibility) -> str:
    """A plan's file name without its ending: for one GPU as its record, for several what they have in common."""
    if level == "none":
        return record_stem(artefact, RUNTIME, version, device)
    family = level if level == "ampere-plus" else f"sm{device.compute_capability.replace('.', '')}"
    return record_stem(artefact, RUNTIME, version, device.model_copy(update={"name": family}))


def _shared(bundle: Bundle, bench: Bench, engines: Path | None, name: str, plan: str) -> EngineRecord | None:
    """A record, of whatever GPU, that vouches for a plan of that name."""
    for record in read_records(bundle, engines)[0]:
        same = (record.artefact, record.runtime, record.file) == (name, RUNTIME, plan)
        if same and record.runtime_version == bench.version(RUNTIME) and _untouched(bundle, record, engines):
            return record
    return None


def _prove(bundle: Bundle, bench: Bench, order: Order, candidates: list[Candidate]) -> list[Outcome]:
    expected = reference_predictor(bundle, bench)
    held_out, told = find_held_out(bundle, expected, order.test_split)
    return prove_candidates(prepare_proof(bundle, bench, expected, held_out, told), candidates, say)


def _settle(bundle: Bundle, bench: Bench, folder: Path, outcome: Outcome) -> Path:
    """Give a proven plan its name, then write its record: a plan without one is never loaded."""
    record = outcome.record(bundle, bench)
    if record.file is not None:
        outcome.candidate.path.chmod(0o644)
        outcome.candidate.path.replace(folder / record.file)
    return write_record(folder, record)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One builder a folder: the second waits and then finds what the first has built. Clears what a killed one left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("w")
    except OSError as cause:
        raise BundleError(
            f"{folder}: cannot be written to: {cause.strerror}; name another folder with --engines"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{BUILDING}*"):
            left.unlink(missing_ok=True)
        yield
