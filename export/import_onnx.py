"""Somebody's ONNX file and a small spec -> the next version of a bundle that says it is proven against itself only.

What is shown is that the file, repaired and completed, answers on this runtime and in every batch as it does when it is
asked as it came, a row at a time; not that it is the model which somebody trained. Knows files, specs and the proof.
Knows nothing of how the model came about.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from bundle.device import DeviceKind
from bundle.errors import BundleError, ParityError, RuntimeFailed, UnusableModel
from bundle.manifest import Manifest, Provenance
from bundle.metrics.classification import ClassificationMetric
from bundle.preprocess import Prepare, load_preprocess
from bundle.store import hashes, sha256_of, staging
from bundle.tasks import TASKS, Task
from bundle.tensors import Array, Compute, Tensors, TensorSpec
from export.artefacts import ALL_DEVICES, REFERENCE, REFERENCE_FILE, Made, derive, reference_artefact
from export.evaluate import Reference
from export.import_spec import ImportSpec, golden_samples, labelled_samples, read_spec
from export.onnx_ends import float_input, normalise, put_before, put_behind, softmax
from export.onnx_file import first_line, read_onnx
from export.onnx_fit import fit
from export.package import publish
from export.samples import RawSamples
from export.tolerance import tolerance
from training.answers import answer, prepare_all, record_golden
from training.checkpoint import code_commit, copy_assets, library_versions

WHAT = "itself only: the file as it came, asked a row at a time; no checkpoint came with it"
SUM_ATOL = 1e-3
"""How far from 1 the sum of scores may be; logits are further off."""
ERRORS_ONLY = 3  # onnxruntime's log severity: what matters is raised

Score = Callable[[Sequence[Any], list[Any]], dict[str, float]]


@dataclass(frozen=True)
class _Given:
    """A file, what its owner says of it, and the tensors that follow from that."""

    file: Path
    folder: Path
    """Where the spec lies, and what it names."""
    spec: ImportSpec
    model: onnx.ModelProto
    task: Task[Any, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def import_onnx(
    file: Path,
    spec_file: Path,
    repository: Path,
    name: str | None = None,
    max_batch_size: int = 32,
    devices: Sequence[DeviceKind] = ALL_DEVICES,
) -> Path:
    """Import, prove and publish; returns the new bundle's folder. fp16 is made of it where "cuda" is among the devices.

    int8 is not: its scales are found on many rows that the model was trained on, and here are a few golden samples.

    Raises:
        UnusableModel: the file or the spec is not one that can be imported. DataError: a sample cannot be read.
        ParityError: in a batch the file does not give the answers that it gives to a row alone.
    """
    if max_batch_size < 1:
        raise UnusableModel(f"max_batch_size is {max_batch_size}; a batch has at least 1 row")
    given = _read(file, spec_file)
    spec, task = given.spec, given.task
    name = file.stem if name is None else name
    with staging(repository, name) as staged:
        prepare = _prepare(given, staged)
        onnx.save(_completed(given), staged / REFERENCE_FILE)
        compute = _as_it_came(given)
        samples = golden_samples(spec, given.folder)
        golden = record_golden(staged, samples, prepare, compute, task)
        made = _artefacts(
            given, staged, [one.tensors for one in prepare_all(samples, range(len(samples)), prepare)], devices
        )
        judged, score, metric_name = _judged(given, samples.answered(answer(samples, prepare, compute, task)))
        draft = Manifest(
            name=name,
            version=1,
            task=spec.task,
            inputs=given.inputs,
            outputs=given.outputs,
            preprocess=spec.preprocess,
            decode=spec.decode,
            max_batch_size=max_batch_size,
            artefacts=made.artefacts,
            left_out=made.left_out,
            default_artefact=REFERENCE,
            golden=golden,
            reference={},
            provenance=_provenance(given, judged),
            files=hashes(staged),
        )
        reference = Reference(WHAT, compute, judged, score, metric_name, "max")
        try:
            return publish(staged, repository, draft, reference, _describe(given))
        except (ParityError, RuntimeFailed) as cause:
            raise ParityError(f"{file}: {cause}{_hint(given.model)}") from None


def _read(file: Path, spec_file: Path) -> _Given:
    spec = read_spec(spec_file)
    task = TASKS[spec.task](spec.decode)
    inputs, outputs = spec.preprocess.input_specs(), task.output_specs(spec.preprocess)
    return _Given(file, spec_file.parent, spec, read_onnx(file), task, inputs, outputs)


def _artefacts(given: _Given, staged: Path, rows: list[Tensors], devices: Sequence[DeviceKind]) -> Made:
    reference = reference_artefact(given.spec.task, f"by its owner: {given.file.name}, {_made(given.model)}")
    return derive(reference, staged, given.spec.task, rows, ["fp16"] if "cuda" in devices else [])


def _prepare(given: _Given, staged: Path) -> Prepare:
    """Ready to prepare, with the files that it needs in the bundle."""
    preprocess = given.spec.preprocess
    try:
        copy_assets(preprocess, given.folder, staged)
        return load_preprocess(preprocess, staged)
    except OSError as cause:
        raise UnusableModel(f"{cause.filename}: preprocess {preprocess.kind} needs it: {cause.strerror}") from None
    except BundleError as cause:
        raise UnusableModel(str(cause).replace(str(staged), str(given.folder))) from None


def _completed(given: _Given) -> onnx.ModelProto:
    """The graph with the tensors that task and preprocessing need."""
    spec, takes = given.spec, given.inputs
    if spec.float_pictures is not None:
        takes = (float_input(given.inputs[0], spec.float_pictures),)
    try:
        model = fit(given.model, takes, given.outputs, spec.inputs | spec.outputs)
    except UnusableModel as cause:
        raise UnusableModel(f"{given.file}: {cause}") from None
    if spec.float_pictures is not None:
        put_before(model, given.inputs[0], spec.float_pictures)
    if spec.softmax:
        put_behind(model, given.outputs[0])
    return model


def _as_it_came(given: _Given) -> Compute:
    """The file's own answers: nothing repaired, nothing completed, a row at a time.

    Raises:
        UnusableModel: onnxruntime cannot load it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    content = given.model.SerializeToString()
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        raise UnusableModel(f"{given.file}: onnxruntime cannot load it: {first_line(cause)}") from cause
    spec = given.spec
    input_names = [spec.inputs.get(one.name, one.name) for one in given.inputs]
    output_names = [spec.outputs.get(one.name, one.name) for one in given.outputs]

    def one_row(row: Tensors) -> Tensors:
        arrays = [_as_taken(spec, row[one.name])[None] for one in given.inputs]
        try:
            values = session.run(output_names, dict(zip(input_names, arrays, strict=True)))
        except Exception as cause:
            shapes = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
            raise UnusableModel(f"{given.file}: it fails on one row, {shapes}: {first_line(cause)}") from cause
        return {one.name: _answered(given, one, value) for one, value in zip(given.outputs, values, strict=True)}

    return lambda rows: [one_row(row) for row in rows]


def _as_taken(spec: ImportSpec, array: Array) -> Array:
    return array if spec.float_pictures is None else normalise(array, spec.float_pictures)


def _answered(given: _Given, output: TensorSpec, value: Array) -> Array:
    """One row of an output, held to what the task reads."""
    mismatch = output.mismatch(value)
    if mismatch:
        raise UnusableModel(f"{given.file}: its answer does not fit the task: {mismatch}")
    row = softmax(value[0]) if given.spec.softmax else value[0]
    if given.spec.decode.kind == "classification" and (row.min() < 0 or abs(row.sum() - 1) > SUM_ATOL):
        raise UnusableModel(
            f"{given.file}: '{output.name}' sums to {row.sum():.3g} and holds {row.min():.3g}; scores are 0 to 1 and "
            "sum to 1. If these are logits, say `softmax: true` in the spec"
        )
    return row


def _judged(given: _Given, golden: RawSamples) -> tuple[RawSamples, Score, str]:
    """The samples that it is proven on, and their figure: right labels where labels are known, else its own answers."""
    if given.spec.evaluate:
        labels = getattr(given.spec.decode, "labels", ())
        return labelled_samples(given.spec, given.folder), partial(_accuracy, labels), "accuracy"
    atol = tolerance(given.spec.task, "fp32").answer_atol

    def agreement(answers: Sequence[Any], targets: list[Any]) -> dict[str, float]:
        same = [given.task.agree(*pair, atol) is None for pair in zip(targets, answers, strict=True)]
        return {"agreement": float(np.mean(same))}

    return golden, agreement, "agreement"


def _accuracy(labels: Sequence[str], answers: Sequence[Any], targets: list[Any]) -> dict[str, float]:
    metric = ClassificationMetric(tuple(labels))
    for answered, label in zip(answers, targets, strict=True):
        metric.add(answered, labels.index(label))
    return metric.figures()


def _hint(model: onnx.ModelProto) -> str:
    axes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    if any(len(dims) and dims[0].dim_value == 1 for dims in axes):
        return "; the file declares a batch of 1, and more do not give the same: export it with a dynamic batch axis"
    return ""


def _made(model: onnx.ModelProto) -> str:
    """Which program wrote the file, as it says."""
    return " ".join(filter(None, (model.producer_name, model.producer_version))) or "producer not told"


def _provenance(given: _Given, samples: RawSamples) -> Provenance:
    return Provenance(
        recipe="import onnx",
        arguments={"spec": given.spec.model_dump(mode="json"), "sha256": {given.file.name: sha256_of(given.file)}},
        data="the samples that the spec names",
        data_sha256=samples.sha256(),
        seed=0,
        commit=code_commit(),
        versions=library_versions() | {library: version(library) for library in ("onnx", "onnxruntime")},
    )


def _describe(given: _Given) -> str:
    completed = [
        "normalised float pictures before it" if given.spec.float_pictures else "",
        "a softmax behind it" if given.spec.softmax else "",
    ]
    added = " and ".join(filter(None, completed))
    return (
        f"Imported from somebody's ONNX file `{given.file.name}` ({_made(given.model)}). **Proven against itself "
        "only**: nobody has shown that it gives the answers of the model it was made from."
        f"{f' Put into the graph here: {added}.' if added else ''}"
    )
