"""A finished run -> the next version of a bundle, with proof, or an error and nothing on disk.

Knows every part of export and joins them in one visible place.
"""

import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bundle.errors import DataError, ParityError, RunError
from bundle.evidence import Evidence, Latency
from bundle.golden import Golden, read_golden
from bundle.manifest import Artefact, LeftOut, Manifest, Provenance
from bundle.preprocess import Limits, prepare
from bundle.store import commit, hashes, staging
from bundle.tasks import TASKS as MEANINGS
from bundle.tensors import stack
from export.card import model_card
from export.evaluate import Evaluation, check_evaluation, evaluate_artefact, evaluate_checkpoint
from export.latency import measure, speed_up
from export.onnx import OPSET, export_onnx
from export.parity import Cases, check_parity, golden_cases, random_cases
from export.quantize import quantize
from export.tolerance import TOLERANCES
from runtime.predictor import Predictor
from runtime.replay import replay
from runtime.runtime import Runtime, runtime_class
from training.checkpoint import Checkpoint, load_checkpoint, spread
from training.data import Splits
from training.data.samples import train_and_validation
from training.graph import Graph
from training.results import this_machine
from training.tasks import TrainingTask, training_task

REFERENCE = "fp32"
LATENCY_BATCHES = (1, 8, 32)
NUM_CALIBRATION = 512
MIN_SPEED_UP = 1.05  # what two measurements of one artefact differ by on a busy machine is not a speed-up


@dataclass(frozen=True)
class Subject:
    """What is being exported: the checkpoint, rebuilt, and the data it is judged on."""

    checkpoint: Checkpoint
    graph: Graph
    splits: Splits
    task: TrainingTask


@dataclass(frozen=True)
class Proof:
    """What every artefact of this export is held to."""

    golden: list[Golden]
    cases: list[Cases]
    reference: Evaluation


def export_run(run: Path, repository: Path, name: str | None = None, max_batch_size: int = 32) -> Path:
    """Export, prove and publish; returns the new bundle's folder.

    Raises:
        RunError: not a finished run, or a batch of none. DataError: the data is not what the run was trained on.
        ParityError: the fp32 artefact does not give the checkpoint's answers.
    """
    if max_batch_size < 1:
        raise RunError(f"max_batch_size is {max_batch_size}; a batch has at least 1 row")
    checkpoint, graph = load_checkpoint(run)
    splits = checkpoint.config.data.load()
    if splits.sha256() != checkpoint.data_sha256:
        raise DataError(f"data '{checkpoint.config.data.dataset}' is not what {run} was trained on (another sha256)")
    subject = Subject(checkpoint, graph, splits, training_task(checkpoint.config.task)(splits.labels))
    name = checkpoint.config.name if name is None else name
    with staging(repository, name) as folder:
        draft = _draft(subject, name, folder, run, max_batch_size)
        manifest = _prove(subject, draft, folder)
        (folder / "MODEL_CARD.md").write_text(model_card(manifest, _describe(checkpoint)), encoding="utf-8")
        return commit(folder, repository, manifest.model_copy(update={"files": hashes(folder)}))


def _draft(subject: Subject, name: str, folder: Path, run: Path, max_batch_size: int) -> Manifest:
    """Make every artefact, unproven."""
    checkpoint, config = subject.checkpoint, subject.checkpoint.config
    decode = subject.task.decode_parameters()
    preprocess = config.preprocess
    inputs = preprocess.input_specs()
    outputs = MEANINGS[config.task](decode).output_specs()
    _say(f"exporting to ONNX (opset {OPSET})")
    export_onnx(subject.graph, inputs, outputs, folder / "model.onnx")
    train, _ = train_and_validation(subject.splits, config.validation_share, config.seed)
    calibration = [prepare(preprocess, train.raw(i), Limits()).tensors for i in spread(train, NUM_CALIBRATION)]
    _say(f"quantising to int8, calibrated on {len(calibration)} training samples")
    quantize(folder / "model.onnx", folder / "model.int8.onnx", stack(calibration))
    shutil.copytree(run / "golden", folder / "golden")
    return Manifest(
        name=name,
        version=1,
        task=config.task,
        inputs=inputs,
        outputs=outputs,
        preprocess=preprocess,
        decode=decode,
        max_batch_size=max_batch_size,
        artefacts={
            REFERENCE: Artefact(
                file="model.onnx",
                runtime="onnxruntime",
                precision="fp32",
                made=f"torch.onnx.export, opset {OPSET}",
                atol=TOLERANCES["fp32"].atol,
            ),
            "int8": Artefact(
                file="model.int8.onnx",
                runtime="onnxruntime",
                precision="int8",
                made=f"static QDQ, U8S8 a channel, calibrated on {len(calibration)} training samples",
                atol=TOLERANCES["int8"].atol,
            ),
        },
        default_artefact=REFERENCE,
        golden=checkpoint.golden,
        reference={},
        provenance=Provenance(
            recipe=checkpoint.recipe,
            arguments=config.model_dump(mode="json"),
            data=config.data.dataset,
            data_sha256=checkpoint.data_sha256,
            seed=config.seed,
            commit=checkpoint.commit,
            versions=checkpoint.versions,
        ),
        files=hashes(folder),
    )


def _prove(subject: Subject, draft: Manifest, folder: Path) -> Manifest:
    """Prove the artefacts, drop those that fail or gain nothing, and choose the fastest of the rest."""
    runtimes: dict[str, Runtime] = {
        name: runtime_class(artefact.runtime)(folder / artefact.file, "cpu", 1)
        for name, artefact in draft.artefacts.items()
    }
    golden = read_golden(folder, draft)
    test = subject.splits.test
    _say(f"asking the checkpoint for its answers to {len(test)} test samples")
    reference = evaluate_checkpoint(subject.graph, Predictor(draft, runtimes[REFERENCE]), test, subject.task)
    proof = Proof(golden, [golden_cases(golden), random_cases(draft, subject.graph)], reference)
    batches = [size for size in LATENCY_BATCHES if size <= draft.max_batch_size]
    latencies = measure(runtimes, [sample.inputs for sample in golden], batches)
    proven: dict[str, Artefact] = {}
    left_out: list[LeftOut] = []
    for name, artefact in draft.artefacts.items():
        gain = speed_up(latencies[REFERENCE], latencies[name])
        if name != REFERENCE and gain < MIN_SPEED_UP:
            reason = (
                f"no faster than {REFERENCE}: {gain:.2f}x ({_ms(latencies[name])} against {_ms(latencies[REFERENCE])})"
            )
            left_out.append(_leave_out(folder, name, artefact, reason))
            continue
        try:
            evidence = _evidence(subject, draft, artefact, runtimes[name], proof, latencies[name])
        except ParityError as cause:
            if name == REFERENCE:
                raise ParityError(f"{artefact.file}: {cause}") from None
            left_out.append(_leave_out(folder, name, artefact, str(cause)))
            continue
        _say(f"{name}: proven; {subject.task.metric_name} {evidence.metric['artefact']:.4f}, {_ms(latencies[name])}")
        proven[name] = artefact.model_copy(update={"evidence": evidence})
    fastest = max(proven, key=lambda name: speed_up(latencies[REFERENCE], latencies[name]))
    statistics = MEANINGS[draft.task](draft.decode).summarise(list(reference.answers))  # type: ignore[arg-type]
    return draft.model_copy(
        update={
            "artefacts": proven,
            "default_artefact": fastest,
            "left_out": tuple(left_out),
            "reference": statistics,
        }
    )


def _leave_out(folder: Path, name: str, artefact: Artefact, reason: str) -> LeftOut:
    _say(f"{name}: left out: {reason}")
    (folder / artefact.file).unlink()
    return LeftOut(artefact=name, reason=reason)


def _evidence(
    subject: Subject, draft: Manifest, artefact: Artefact, runtime: Runtime, proof: Proof, median_ms: dict[int, float]
) -> Evidence:
    """Prove one artefact: parity, golden samples through the whole path, then the whole test split."""
    tolerance = TOLERANCES[artefact.precision]
    checks = check_parity(runtime, draft, proof.cases, tolerance)
    predictor = Predictor(draft, runtime)
    replay(predictor, proof.golden, artefact.atol)
    got = evaluate_artefact(predictor, subject.splits.test, subject.task)
    higher_wins = subject.task.better == "max"
    checks += check_evaluation(predictor, proof.reference, got, tolerance, subject.task.metric_name, higher_wins)
    return Evidence(
        sha256=draft.files[artefact.file],
        runtime=artefact.runtime,
        device="cpu",
        checks=tuple(checks),
        metric_name=subject.task.metric_name,
        metric={"artefact": got.metric, "checkpoint": proof.reference.metric},
        num_test_samples=len(got.answers),
        latency=Latency(threads=1, median_ms=median_ms),
        measured_with={
            "machine": this_machine(),
            "python": platform.python_version(),
            artefact.runtime: version(artefact.runtime),
        },
    )


def _ms(latency: dict[int, float]) -> str:
    return ", ".join(f"batch {size} {value:.3g} ms" for size, value in latency.items())


def _describe(checkpoint: Checkpoint) -> str:
    figures = ", ".join(f"{name} {value:.4f}" for name, value in checkpoint.validation.items())
    return f"Trained by recipe `{checkpoint.recipe}`; epoch {checkpoint.best_epoch} was best on validation ({figures})."


def _say(text: str) -> None:
    print(text, file=sys.stderr)
