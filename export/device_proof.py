"""Proof on the device at hand: each candidate against the fp32 artefact on this machine's CPU and the golden samples.

What export/prove.py shows against a checkpoint is shown here without one, so it runs on the node that serves: no torch,
unless the test split is scored. Knows bundles, loaded engines and limits. Knows nothing of how a plan was built or
where records lie.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bundle.device import DeviceInfo, DeviceKind
from bundle.engines import DeviceEvidence, EngineRecord
from bundle.errors import BundleError, DeviceLost, ParityError, RuntimeFailed
from bundle.evidence import Check, Latency
from bundle.golden import Golden
from bundle.manifest import Manifest
from bundle.store import Bundle, sha256_of
from export.latency import LATENCY_BATCHES, measure
from export.parity import Cases, check_parity, golden_cases, noise_cases
from export.tolerance import Tolerance, tolerance
from runtime.cpus import available_cpus
from runtime.devices import device_info, installed_version
from runtime.predictor import Predictor, join
from runtime.replay import replay
from runtime.runtime import ON_CPU, Placement, Runtime, load_runtime
from training.results import this_machine


@dataclass(frozen=True)
class Bench:
    """The device at hand, and how artefacts are loaded on it."""

    device: DeviceInfo
    placement: Placement
    version: Callable[[str], str | None] = installed_version
    load: Callable[[Manifest, str, Path, Placement], Runtime] = load_runtime


def bench(kind: DeviceKind, gpu: int = 0) -> Bench:
    """This machine's CPU, or one of its GPUs.

    Raises:
        RuntimeFailed: there is no such GPU, or no driver for it.
    """
    placement = Placement("cuda", gpu) if kind == "cuda" else ON_CPU
    return Bench(device_info(placement), placement)


@dataclass(frozen=True)
class Candidate:
    """One artefact in one runtime, to be proven."""

    artefact: str
    runtime: str
    path: Path
    """What the runtime loads: the artefact itself, or a plan under whatever name it has now."""
    plan: str | None = None
    """The plan's name once it is proven; None where the artefact itself is run."""
    built_with: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """For a message."""
        return f"'{self.artefact}' in {self.runtime}"


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate."""

    candidate: Candidate
    evidence: DeviceEvidence | None
    refused: str = ""
    """Why, with the figure that decided."""

    def record(self, bundle: Bundle, bench: Bench) -> EngineRecord:
        """What is written down of a proven one."""
        if self.evidence is None:
            raise BundleError(f"{self.candidate} is not proven, so there is nothing to write down: {self.refused}")
        candidate, manifest = self.candidate, bundle.manifest
        return EngineRecord(
            bundle_digest=manifest.digest,
            artefact=candidate.artefact,
            artefact_sha256=manifest.files[manifest.artefacts[candidate.artefact].file],
            runtime=candidate.runtime,
            runtime_version=bench.version(candidate.runtime) or "",
            device=bench.device,
            file=candidate.plan,
            sha256=sha256_of(candidate.path) if candidate.plan else None,
            built_with=candidate.built_with,
            evidence=self.evidence,
        )


class HeldOut(Protocol):
    """The test split and what the fp32 artefact answers to it (export/held_out.py)."""

    @property
    def num_samples(self) -> int:
        """How many."""
        ...

    def check(self, predictor: Predictor, limits: Tolerance) -> list[Check]:
        """Hold a candidate's answers and metric to it."""
        ...


@dataclass(frozen=True)
class Proof:
    """What every candidate is held to."""

    bundle: Bundle
    bench: Bench
    against: str
    golden: list[Golden]
    cases: list[Cases]
    held_out: HeldOut | None
    held_out_told: str
    """What was scored of the test split, or why nothing was."""


def reference(bundle: Bundle) -> str:
    """The artefact whose answers count: fp32, which the export held to the checkpoint.

    Raises:
        BundleError: the bundle has none.
    """
    for name, artefact in bundle.manifest.artefacts.items():
        if artefact.is_reference:
            return name
    raise BundleError(f"{bundle.folder}: has no fp32 artefact for any device, so nothing can be held to its answers")


def reference_predictor(bundle: Bundle, bench: Bench) -> Predictor:
    """The fp32 artefact on this machine's CPU, with all its processors."""
    artefact = bundle.manifest.artefacts[reference(bundle)]
    placement = Placement(threads=available_cpus())
    return join(bundle, bench.load(bundle.manifest, artefact.runtime, bundle.path(artefact), placement))


def prepare_proof(
    bundle: Bundle, bench: Bench, expected: Predictor, held_out: HeldOut | None, held_out_told: str
) -> Proof:
    """Ask the fp32 artefact, `expected`, for its answers."""
    golden = bundle.golden()
    rows = [sample.inputs for sample in golden]
    name = reference(bundle)
    evidence = bundle.manifest.artefacts[name].evidence
    against = f"'{name}' on {device_info(ON_CPU)}, and the golden outputs of "
    cases = [
        golden_cases(golden),
        Cases("golden", rows, expected.run(rows), f"'{name}' on this CPU"),
        noise_cases(bundle.manifest, golden, expected.run),
    ]
    against += evidence.proven_against if evidence else "its checkpoint"
    return Proof(bundle, bench, against, golden, cases, held_out, held_out_told)


def prove_candidates(proof: Proof, candidates: list[Candidate], say: Callable[[str], None]) -> list[Outcome]:
    """Prove each, then measure those that stand turn by turn, so that their figures can be compared.

    Raises:
        DeviceLost: nothing answers on the device any more.
    """
    loaded: list[Runtime | None] = []
    checks: list[list[Check]] = []
    refused: list[str] = []
    for candidate in candidates:
        say(f"{candidate}: proving on {proof.bench.device}")
        try:
            runtime = _load(proof, candidate)
            checks.append(_checks(proof, candidate, runtime))
            loaded.append(runtime)
            refused.append("")
        except DeviceLost:
            raise
        except (ParityError, RuntimeFailed) as cause:
            say(f"{candidate}: REFUSED: {cause}")
            loaded.append(None)
            checks.append([])
            refused.append(str(cause))
    standing = {str(i): runtime for i, runtime in enumerate(loaded) if runtime is not None}
    latencies = _measured(proof, standing, proof.bench.placement.threads) if standing else {}
    parallel = _parallel(proof, {i: candidates[int(i)] for i in standing})
    return [
        Outcome(
            one,
            _evidence(proof, one, checks[i], latencies[str(i)], parallel.get(str(i))) if str(i) in latencies else None,
            refused[i],
        )
        for i, one in enumerate(candidates)
    ]


def _parallel(proof: Proof, standing: dict[str, Candidate]) -> dict[str, Latency]:
    """The same with all processors on one batch, on a CPU that has several."""
    threads = available_cpus()
    if proof.bench.device.kind != "cpu" or threads < 2 or not standing:
        return {}
    return _measured(proof, {i: _load(proof, one, Placement(threads=threads)) for i, one in standing.items()}, threads)


def _load(proof: Proof, candidate: Candidate, placement: Placement | None = None) -> Runtime:
    placement = placement or proof.bench.placement
    return proof.bench.load(proof.bundle.manifest, candidate.runtime, candidate.path, placement)


def _checks(proof: Proof, candidate: Candidate, runtime: Runtime) -> list[Check]:
    manifest = proof.bundle.manifest
    artefact = manifest.artefacts[candidate.artefact]
    limits = tolerance(manifest.task, candidate.artefact)
    checks = check_parity(runtime, manifest, proof.cases, limits)
    predictor = join(proof.bundle, runtime)
    replay(predictor, proof.golden, artefact.atol)
    subject = f"share of {len(proof.golden)} golden answers that differ, from their raw inputs"
    checks.append(Check(kind="decoded", subject=subject, value=0.0, limit=0.0))  # one that differs has raised
    return checks + (proof.held_out.check(predictor, limits) if proof.held_out else [])


def _measured(proof: Proof, standing: dict[str, Runtime], threads: int) -> dict[str, Latency]:
    sizes = [size for size in LATENCY_BATCHES if size <= proof.bundle.manifest.max_batch_size]
    return measure(standing, [sample.inputs for sample in proof.golden], sizes, threads)


def _evidence(
    proof: Proof, candidate: Candidate, checks: list[Check], latency: Latency, parallel: Latency | None
) -> DeviceEvidence:
    return DeviceEvidence(
        proven_against=proof.against,
        checks=tuple(checks),
        num_samples=len(proof.golden) + (proof.held_out.num_samples if proof.held_out else 0),
        latency=latency,
        parallel=parallel,
        measured_with={
            "machine": this_machine(),
            "python": platform.python_version(),
            candidate.runtime: proof.bench.version(candidate.runtime) or "",
            "test_split": proof.held_out_told,
        },
    )
