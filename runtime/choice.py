"""Which artefact of a bundle runs on this device, in which engine, and why: the fastest whose proof holds here.

On a CPU the proof is the export's (a record of this very CPU goes before it). On a GPU a record of this GPU and this
version of the engine is the proof; without any, the fp32 artefact runs, and this is told as a fallback. Knows
manifests, records and figures. Knows nothing of how anything is loaded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bundle.device import DeviceInfo
from bundle.engines import EngineRecord, engines_folder
from bundle.errors import BundleError
from bundle.evidence import Latency
from bundle.manifest import Artefact
from bundle.store import Bundle
from runtime.proofs import Failure, Proofs, Versions, read_proofs

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
    without: tuple[Failure, ...] = ()
    """What failed when it was loaded."""

    def takes(self, name: str, artefact: Artefact, runtime: str) -> bool:
        """Whether a candidate is what was asked for."""
        return (
            self.artefact in (None, name)
            and self.runtime in ("auto", runtime)
            and self.precision in ("auto", artefact.precision)
            and (not self.require_engine or runtime == "tensorrt")
        )

    def __str__(self) -> str:
        """For a message."""
        asked = [f"runtime {self.runtime}"] * (self.runtime != "auto")
        asked += [f"precision {self.precision}"] * (self.precision != "auto")
        asked += [f"artefact '{self.artefact}'"] * (self.artefact is not None)
        asked += ["an engine (--require-engine)"] * self.require_engine
        return " and ".join(asked) or "any artefact"


ANYTHING = Wanted()


@dataclass(frozen=True)
class Choice:
    """One artefact in one engine on one device."""

    artefact: str
    precision: str
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
    record: EngineRecord | None = None
    """The proof on this very device, where there is one."""
    proven_here: tuple[str, ...] = ()
    """All artefacts that have such a proof."""

    def runs_as(self, other: "Choice") -> bool:
        """Whether the same file would run in the same way: what is told of it may differ."""
        return self._run == other._run

    @property
    def _run(self) -> tuple[object, ...]:
        plan = self.record.sha256 if self.record else None
        return self.artefact, self.runtime, self.path, self.device, self.latency, self.parallel, plan


@dataclass(frozen=True)
class _Candidate:
    artefact: str
    runtime: str
    latency: Latency | None
    parallel: Latency | None = None
    record: EngineRecord | None = None

    def __str__(self) -> str:
        return f"'{self.artefact}' in {self.runtime}"


def choose(bundle: Bundle, device: DeviceInfo, wanted: Wanted, versions: Versions) -> Choice:
    """Choose among what is proven for `device`; a proof is of one version of its runtime, which must be installed.

    A preference (`runtime`, `precision`) that cannot be had is replaced, and `fell_back` says so.

    Raises:
        BundleError: no proven engine although one is required, or the artefact that was named cannot run here.
    """
    proofs = read_proofs(bundle, device, wanted.engines, versions, wanted.without)
    there = _candidates(bundle, device, wanted, proofs.usable)
    fitting = _fitting(bundle, wanted, there)
    if not fitting and (wanted.require_engine or wanted.artefact is not None or not there):
        raise BundleError(_nothing(bundle, device, wanted, there, proofs))
    compared = _comparable(device, fitting or there)
    best = _fastest(bundle, compared)
    if fitting:
        fell_back = _amiss(bundle, device, wanted, best, proofs)
    else:
        fell_back = _nothing(bundle, device, wanted, there, proofs)
    choice = _choice(bundle, device, wanted, best, proofs)
    return replace(choice, why=_why(best, compared, device), fell_back=fell_back)


def candidates(
    bundle: Bundle, device: DeviceInfo, wanted: Wanted, versions: Versions
) -> tuple[list[Choice], list[str]]:
    """All that `choose` would compare, and what is wrong with the rest that lies there, a line each."""
    proofs = read_proofs(bundle, device, wanted.engines, versions, wanted.without)
    there = _candidates(bundle, device, wanted, proofs.usable)
    fitting = _fitting(bundle, wanted, there)
    compared = _comparable(device, fitting)
    unproven = [f"{one} is not proven on {device}" for one in fitting if one not in compared]
    found = [_choice(bundle, device, wanted, one, proofs) for one in compared]
    return found, [*unproven, *proofs.amiss]


def _fitting(bundle: Bundle, wanted: Wanted, there: list[_Candidate]) -> list[_Candidate]:
    artefacts = bundle.manifest.artefacts
    return [one for one in there if wanted.takes(one.artefact, artefacts[one.artefact], one.runtime)]


def _choice(bundle: Bundle, device: DeviceInfo, wanted: Wanted, one: _Candidate, proofs: Proofs) -> Choice:
    artefact = bundle.manifest.artefacts[one.artefact]
    path = bundle.path(artefact)
    if one.record is not None and one.record.file is not None:
        path = engines_folder(bundle, wanted.engines) / one.record.file
    return Choice(
        artefact=one.artefact,
        precision=artefact.precision,
        runtime=one.runtime,
        path=path,
        atol=artefact.atol,
        device=device,
        latency=one.latency,
        parallel=one.parallel,
        record=one.record,
        proven_here=tuple(dict.fromkeys(record.artefact for record in proofs.usable)),
    )


def _candidates(bundle: Bundle, device: DeviceInfo, wanted: Wanted, usable: list[EngineRecord]) -> list[_Candidate]:
    """What could run here: what is proven here; on a CPU what the export proved too, on a GPU the fp32 artefact."""
    found = [
        _Candidate(one.artefact, one.runtime, one.evidence.latency, one.evidence.parallel, record=one) for one in usable
    ]
    decided = {(one.artefact, one.runtime) for one in found} | {one.what for one in wanted.without}
    for name, artefact in bundle.manifest.artefacts.items():
        if (name, artefact.runtime) in decided:
            continue
        if device.kind == "cuda":
            if artefact.is_reference:
                found.append(_Candidate(name, artefact.runtime, None))
        elif artefact.evidence and (artefact.device != "cuda" or name == wanted.artefact):
            found.append(_Candidate(name, artefact.runtime, artefact.evidence.latency, artefact.evidence.parallel))
    return found


def _comparable(device: DeviceInfo, candidates: list[_Candidate]) -> list[_Candidate]:
    """On a GPU what is proven there goes before what is not."""
    proven = [one for one in candidates if one.record is not None]
    return proven if proven and device.kind == "cuda" else candidates


def _fastest(bundle: Bundle, candidates: list[_Candidate]) -> _Candidate:
    """By the geometric mean over batch sizes; what the export chose, where not all figures are of this machine."""
    if any(one.record is None for one in candidates):
        for one in candidates:
            if one.artefact == bundle.manifest.default_artefact:
                return one
    sizes = _common_sizes(candidates)
    return min(candidates, key=lambda one: _cost(one.latency, sizes))


def _common_sizes(candidates: Sequence[_Candidate]) -> set[int]:
    """Batch sizes that were measured for all."""
    tables = [set(one.latency.median_ms) for one in candidates if one.latency is not None]
    return set.intersection(*tables) if tables else set()


def _cost(latency: Latency | None, sizes: set[int]) -> float:
    """Orders candidates: the geometric mean of milliseconds at these sizes; where there are none, of a row at best."""
    table = latency.median_ms if latency is not None else {}
    if not table:
        return math.inf
    if not sizes:
        return min(ms / size for size, ms in table.items())
    return math.exp(sum(math.log(table[size]) for size in sizes) / len(sizes))


def _why(best: _Candidate, compared: list[_Candidate], device: DeviceInfo) -> str:
    if best.latency is None:
        return f"the fp32 artefact, unproven on {device} but held to its golden answers whenever it is loaded"
    measured = f"proven on {device}" if best.record else "proven by the export"
    if len(compared) == 1:
        return f"the only one that may run here, {measured}"
    sizes = _common_sizes(compared)
    beaten = [
        f"{_cost(one.latency, sizes) / _cost(best.latency, sizes):.2f} times {one}"
        for one in compared
        if one is not best and one.latency is not None
    ]
    return f"the fastest of those {measured}: {', '.join(beaten)}"


def _amiss(bundle: Bundle, device: DeviceInfo, wanted: Wanted, best: _Candidate, proofs: Proofs) -> str:
    """What a person must know although something that was asked for runs; only of GPUs, where engines are built."""
    if device.kind == "cpu":
        return ""
    found = list(proofs.failures)
    if best.record is None:
        found.append(f"{best} is not proven on {device}: {_run('prove', bundle, wanted)} there")
    if wanted.runtime != "onnxruntime":
        found += proofs.broken
        has_engine = any(one.runtime == "tensorrt" for one in proofs.usable)
        found += [] if has_engine else proofs.elsewhere
    return "; ".join(found)


def _nothing(bundle: Bundle, device: DeviceInfo, wanted: Wanted, there: list[_Candidate], proofs: Proofs) -> str:
    there_is = ", ".join(map(str, there)) or "nothing"
    if device.kind == "cpu":
        advice = "the others were left out at export, or are for GPUs"
    else:
        advice = f"{_run('build-engine', bundle, wanted)} or {_run('prove', bundle, wanted)} there"
    problems = "".join(f"; {one}" for one in proofs.amiss)
    return f"{bundle.folder}: asked for {wanted}, and what may run on {device} is {there_is}; {advice}{problems}"


def _run(command: str, bundle: Bundle, wanted: Wanted) -> str:
    cache = f" --engines {wanted.engines}" if wanted.engines else ""
    return f"run `modelyard {command} {bundle.folder}{cache}`"
