"""Which artefact of a bundle runs on this device, in which engine, and why: the fastest whose proof holds here.

On a CPU the proof is the export's (a record of this very CPU goes before it). On a GPU only a record of this GPU and
this version of the engine counts. Knows manifests, records and figures. Knows nothing of how anything is loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle.device import DeviceInfo
from bundle.engines import EngineRecord, engines_folder, plan_path, read_records
from bundle.errors import BundleError
from bundle.evidence import Latency
from bundle.manifest import Artefact
from bundle.store import Bundle

RuntimeWanted = Literal["auto", "onnxruntime", "tensorrt"]
PrecisionWanted = Literal["auto", "fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Wanted:
    """What is asked for; "auto" leaves it to the figures."""

    runtime: RuntimeWanted = "auto"
    precision: PrecisionWanted = "auto"
    artefact: str | None = None
    """Exactly this one."""
    require_engine: bool = False
    """Refuse to run anything but a TensorRT engine built for this device."""
    engines: Path | None = None
    """A cache of engines and proofs outside of the bundles."""

    def takes(self, name: str, artefact: Artefact, runtime: str) -> bool:
        """Whether a candidate is what was asked for."""
        return (
            self.artefact in (None, name)
            and self.runtime in ("auto", runtime)
            and self.precision in ("auto", artefact.precision)
            and (not self.require_engine or runtime == "tensorrt")
        )


ANYTHING = Wanted()


@dataclass(frozen=True)
class Choice:
    """One artefact in one engine on one device."""

    artefact: str
    runtime: str
    path: Path
    """The file that the engine loads."""
    atol: float
    """Largest error that golden replays allow."""
    device: DeviceInfo
    latency: Latency | None
    """Measured on this device, or on the machine of the export; None: nobody measured it here."""
    parallel: Latency | None = None
    """The same with all processors on one batch."""
    why: str = ""
    """For people: why this one."""
    fell_back: str = ""
    """Why an engine that was wanted, or lies there, is not used; empty when nothing is amiss."""


@dataclass(frozen=True)
class _Candidate:
    artefact: str
    runtime: str
    latency: Latency | None
    parallel: Latency | None = None
    record: EngineRecord | None = None

    def __str__(self) -> str:
        return f"'{self.artefact}' in {self.runtime}"


def choose(bundle: Bundle, device: DeviceInfo, wanted: Wanted, versions: Callable[[str], str | None]) -> Choice:
    """Choose; `versions` gives the version of a runtime as it is installed here, or None.

    A preference (`runtime`, `precision`) that cannot be had is replaced, and `fell_back` says so.

    Raises:
        BundleError: no proven engine although one is required, or the artefact that was named cannot run here.
    """
    records, amiss = read_records(bundle, wanted.engines)
    usable: list[EngineRecord] = []
    for record in records:
        problem = _unusable(bundle, record, device, wanted, versions)
        if problem:
            amiss.append(problem)
        else:
            usable.append(record)
    there = _candidates(bundle, device, wanted, usable)
    fitting = [one for one in there if wanted.takes(one.artefact, bundle.manifest.artefacts[one.artefact], one.runtime)]
    if not fitting and (wanted.require_engine or wanted.artefact is not None or not there):
        raise BundleError(_nothing(bundle, device, wanted, there, amiss))
    best = _fastest(bundle, fitting or there)
    if not fitting:
        fell_back = _nothing(bundle, device, wanted, there, amiss)
    elif device.kind == "cuda" and best.record is None:
        fell_back = "; ".join([f"nothing is proven on {device}: run `modelyard prove {bundle.folder}` there", *amiss])
    else:
        fell_back = "; ".join(amiss) if device.kind == "cuda" and best.runtime != "tensorrt" != wanted.runtime else ""
    return _choice(bundle, device, wanted, best, _why(best, fitting or there, device), fell_back)


def _unusable(
    bundle: Bundle,
    record: EngineRecord,
    device: DeviceInfo,
    wanted: Wanted,
    versions: Callable[[str], str | None],
) -> str:
    """Why a record says nothing about this device, or ""."""
    what = f"'{record.artefact}' in {record.runtime} {record.runtime_version} for {record.device}"
    installed = versions(record.runtime)
    if record.device != device:
        return f"{what} is not used on {device}"
    if record.runtime_version != installed:
        return f"{what} is not used with {record.runtime} {installed or '(not installed)'}"
    if record.file is not None:
        try:
            plan_path(engines_folder(bundle, wanted.engines), record)
        except BundleError as cause:
            return str(cause)
    return ""


def _candidates(bundle: Bundle, device: DeviceInfo, wanted: Wanted, usable: list[EngineRecord]) -> list[_Candidate]:
    """What could run here: what is proven here; else on a CPU what the export proved, on a GPU the fp32 artefact."""
    if usable:
        return [_Candidate(one.artefact, one.runtime, one.evidence.latency, record=one) for one in usable]
    artefacts = bundle.manifest.artefacts.items()
    if device.kind == "cuda":
        plain = [(name, one) for name, one in artefacts if one.precision == "fp32" and one.device == "any"]
        return [_Candidate(name, one.runtime, None) for name, one in plain]
    return [
        _Candidate(name, one.runtime, one.evidence.latency, one.evidence.parallel)
        for name, one in artefacts
        if one.evidence and (one.device != "cuda" or name == wanted.artefact)
    ]


def _fastest(bundle: Bundle, candidates: list[_Candidate]) -> _Candidate:
    """By the geometric mean over batch sizes; what the export chose, where its figures are all there is."""
    first = candidates[0]
    for one in candidates:
        if one.record is None and one.artefact == bundle.manifest.default_artefact:
            return one
    if first.latency is None:
        return first
    return max(candidates, key=lambda one: one.latency.speed_up(first.latency) if one.latency and first.latency else 0)


def _why(best: _Candidate, others: list[_Candidate], device: DeviceInfo) -> str:
    if best.latency is None:
        return "the fp32 artefact, which is held to its golden answers whenever it is loaded"
    measured = f"proven on {device}" if best.record else "by the export's evidence"
    if len(others) == 1:
        return f"the only one of those asked for, {measured}"
    beaten = ", ".join(
        f"{best.latency.speed_up(one.latency):.2f}x {one}" for one in others if one is not best and one.latency
    )
    return f"the fastest, {measured}: {beaten}"


def _nothing(bundle: Bundle, device: DeviceInfo, wanted: Wanted, there: list[_Candidate], amiss: list[str]) -> str:
    asked = [f"runtime {wanted.runtime}"] * (wanted.runtime != "auto")
    asked += [f"precision {wanted.precision}"] * (wanted.precision != "auto")
    asked += [f"artefact '{wanted.artefact}'"] * (wanted.artefact is not None)
    asked += ["an engine (--require-engine)"] * wanted.require_engine
    there_is = ", ".join(map(str, there)) or "nothing"
    advice = f"run `modelyard build-engine {bundle.folder}` or `modelyard prove {bundle.folder}` on it"
    if device.kind == "cpu":
        advice = "the others were left out at export, or are for GPUs"
    problems = "".join(f"; {one}" for one in amiss)
    return (
        f"{bundle.folder}: asked for {' and '.join(asked) or 'any artefact'}, and what may run on {device} is "
        f"{there_is}; {advice}{problems}"
    )


def _choice(bundle: Bundle, device: DeviceInfo, wanted: Wanted, best: _Candidate, why: str, fell_back: str) -> Choice:
    artefact = bundle.manifest.artefacts[best.artefact]
    path = bundle.path(artefact)
    if best.record is not None and best.record.file is not None:
        path = engines_folder(bundle, wanted.engines) / best.record.file
    return Choice(best.artefact, best.runtime, path, artefact.atol, device, best.latency, best.parallel, why, fell_back)
