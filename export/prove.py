"""Prove a drafted bundle's artefacts, drop those that fail or gain nothing, choose the fastest of the rest.

The reference artefact must hold every limit, or there is no bundle. Knows a draft, its files and whose answers they
must give. Knows nothing of where either came from.
"""

import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bundle.errors import ParityError, RuntimeFailed
from bundle.evidence import Evidence, Latency
from bundle.golden import Golden, read_golden
from bundle.manifest import Artefact, LeftOut, Manifest
from bundle.preprocess import Prepare, load_preprocess
from bundle.tasks import TASKS
from bundle.tensors import Tensors
from export.artefacts import REFERENCE
from export.evaluate import Evaluation, Reference, check_evaluation, evaluate
from export.latency import LATENCY_BATCHES, measure
from export.parity import Cases, check_parity, golden_cases, noise_cases
from export.rehearse import rehearsal
from export.say import say
from export.tolerance import tolerance
from runtime.cpus import available_cpus
from runtime.predictor import Predictor
from runtime.replay import replay
from runtime.runtime import Placement, Runtime, runtime_class
from training.results import this_machine

MIN_SPEED_UP = 1.05  # what two measurements of one artefact differ by on a busy machine is not a speed-up
REHEARSAL_RUNS = 3
TO_BE_PROVEN = "to be proven on the device (modelyard prove)"
REHEARSED = f"on a CPU, fp16 values rounded between operators; {TO_BE_PROVEN}"


@dataclass(frozen=True)
class Proof:
    """What every artefact of this draft is held to."""

    draft: Manifest
    reference: Reference
    prepare: Prepare
    golden: list[Golden]
    cases: list[Cases]
    want: Evaluation

    @property
    def rows(self) -> list[Tensors]:
        """What is timed."""
        return [sample.inputs for sample in self.golden]

    @property
    def batches(self) -> list[int]:
        """Batch sizes that are timed."""
        return [size for size in LATENCY_BATCHES if size <= self.draft.max_batch_size]


Measured = tuple[Runtime, Latency, Latency | None]


def prove(draft: Manifest, folder: Path, reference: Reference) -> Manifest:
    """The draft with evidence for every artefact that stays; files of those that do not are removed.

    Raises:
        ParityError: the fp32 artefact does not give the reference's answers.
    """
    proof = _prepare_proof(draft, folder, reference)
    measured = _measure(proof, folder)
    proven: dict[str, Artefact] = {}
    left_out: list[LeftOut] = []
    for one in draft.left_out:
        _leave_out(left_out, one.artefact, one.reason)
    for name, artefact in draft.artefacts.items():
        try:
            evidence = _prove_one(proof, name, folder, measured)
        except (ParityError, RuntimeFailed) as cause:
            if name == REFERENCE:
                raise ParityError(f"{artefact.file}: {cause}") from None
            (folder / artefact.file).unlink()
            _leave_out(left_out, name, str(cause))
            continue
        proven[name] = artefact.model_copy(update={"evidence": evidence})
        say(f"{name}: {_verdict(artefact, evidence)}")
    latencies = {name: measured[name][1] for name in proven if name in measured}
    return draft.model_copy(
        update={
            "artefacts": proven,
            "default_artefact": max(latencies, key=lambda name: latencies[name].speed_up(latencies[REFERENCE])),
            "left_out": tuple(left_out),
            "reference": TASKS[draft.task](draft.decode).summarise(list(proof.want.answers)),
        }
    )


def _leave_out(left_out: list[LeftOut], name: str, reason: str) -> None:
    say(f"{name}: left out: {reason}")
    left_out.append(LeftOut(artefact=name, reason=reason))


def _verdict(artefact: Artefact, evidence: Evidence) -> str:
    figure = f"{evidence.metric_name} {evidence.metric['artefact']:.4f}"
    if artefact.device == "cuda":
        return f"holds its limits on a CPU; {figure}; {TO_BE_PROVEN}"
    return f"proven; {figure}, {_ms(evidence.latency)}"


def _prove_one(proof: Proof, name: str, folder: Path, measured: dict[str, Measured]) -> Evidence:
    if name not in measured:
        return _rehearsed(proof, name, folder)
    runtime, latency, parallel = measured[name]
    _gains(name, latency, measured[REFERENCE][1])
    return _evidence(proof, name, runtime, latency, parallel)


def _measure(proof: Proof, folder: Path) -> dict[str, Measured]:
    """Of every artefact that may be chosen on a CPU: loaded, its time, and its time with all processors."""
    here = {name: artefact for name, artefact in proof.draft.artefacts.items() if artefact.device != "cuda"}
    runtimes = _runtimes(here, folder, threads=1)
    latencies = measure(runtimes, proof.rows, proof.batches)
    parallel = _parallel(here, folder, proof.rows, proof.batches)
    return {name: (runtimes[name], latencies[name], parallel.get(name)) for name in here}


def _runtimes(artefacts: dict[str, Artefact], folder: Path, threads: int) -> dict[str, Runtime]:
    return {name: _load(artefact, folder / artefact.file, threads) for name, artefact in artefacts.items()}


def _load(artefact: Artefact, path: Path, threads: int = 1) -> Runtime:
    return runtime_class(artefact.runtime)(path, Placement(threads=threads))


def _parallel(
    artefacts: dict[str, Artefact], folder: Path, rows: list[Tensors], batches: list[int]
) -> dict[str, Latency]:
    """The same with all processors on one batch, where there are several: serving chooses its layout by it."""
    threads = available_cpus()
    if threads < 2:
        return {}
    return measure(_runtimes(artefacts, folder, threads), rows, batches, threads)


def _prepare_proof(draft: Manifest, folder: Path, reference: Reference) -> Proof:
    golden = read_golden(folder, draft)
    prepare = load_preprocess(draft.preprocess, folder)
    say(f"asking {reference.what} for its answers to {len(reference.samples)} test samples")
    want = evaluate(reference, reference.compute, prepare, TASKS[draft.task](draft.decode))
    cases = [golden_cases(golden), noise_cases(draft, golden, reference.compute)]
    return Proof(draft, reference, prepare, golden, cases, want)


def _gains(name: str, latency: Latency, reference: Latency) -> None:
    gain = latency.speed_up(reference)
    if name != REFERENCE and gain < MIN_SPEED_UP:
        raise ParityError(f"no faster than {REFERENCE}: {gain:.2f}x ({_ms(latency)} against {_ms(reference)})")


def _rehearsed(proof: Proof, name: str, folder: Path) -> Evidence:
    """What a CPU can show of an artefact that is for GPUs: its answers, with fp16 rounded as a GPU rounds it.

    Its time here says nothing about a GPU; it is measured with few runs, and decides nothing.
    """
    artefact = proof.draft.artefacts[name]
    path = folder / artefact.file
    plain = {name: _load(artefact, path)}
    latency = measure(plain, proof.rows, proof.batches, min_runs=REHEARSAL_RUNS, budget_s=0.0)[name]
    with tempfile.TemporaryDirectory() as scratch:
        runtime = _load(artefact, rehearsal(path, Path(scratch) / artefact.file))
        evidence = _evidence(proof, name, runtime, latency, None)
    return evidence.model_copy(update={"measured_with": evidence.measured_with | {"rehearsed": REHEARSED}})


def _evidence(proof: Proof, name: str, runtime: Runtime, latency: Latency, parallel: Latency | None) -> Evidence:
    """Prove one artefact: parity, golden samples through the whole path, then the whole test split."""
    artefact = proof.draft.artefacts[name]
    limits = tolerance(proof.draft.task, name)
    checks = check_parity(runtime, proof.draft, proof.cases, limits)
    predictor = Predictor(proof.draft, runtime, proof.prepare)
    replay(predictor, proof.golden, artefact.atol)
    got = evaluate(proof.reference, predictor.run, proof.prepare, predictor.task)
    checks += check_evaluation(predictor.task, proof.reference, proof.want, got, limits)
    return Evidence(
        sha256=proof.draft.files[artefact.file],
        proven_against=proof.reference.what,
        runtime=artefact.runtime,
        device="cpu",
        checks=tuple(checks),
        metric_name=proof.reference.metric_name,
        metric={"artefact": got.metric, "checkpoint": proof.want.metric},
        num_test_samples=len(got.answers),
        latency=latency,
        parallel=parallel,
        measured_with={
            "machine": this_machine(),
            "python": platform.python_version(),
            artefact.runtime: version(artefact.runtime),
        },
    )


def _ms(latency: Latency) -> str:
    return ", ".join(f"batch {size} {value:.3g} ms" for size, value in latency.median_ms.items())
