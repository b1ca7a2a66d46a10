"""A finished run -> the next version of a bundle, with proof, or an error and nothing on disk.

Knows every part of export and joins them in one visible place.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from bundle.device import DeviceKind
from bundle.errors import DataError, RunError
from bundle.manifest import Manifest, Provenance
from bundle.preprocess import load_preprocess
from bundle.store import commit, hashes, staging
from bundle.tasks import TASKS as MEANINGS
from bundle.tensors import Tensors
from export.artefacts import ALL_DEVICES, REFERENCE, make_artefacts
from export.card import model_card
from export.evaluate import Reference
from export.prove import prove
from export.say import say
from training.answers import checkpoint_compute, output_names, prepare_all, spread
from training.checkpoint import Checkpoint, copy_assets, load_checkpoint
from training.data import Splits
from training.data.samples import train_and_validation
from training.graph import Graph
from training.tasks import training_task

NUM_CALIBRATION = 512


def export_run(
    run: Path,
    repository: Path,
    name: str | None = None,
    max_batch_size: int = 32,
    devices: Sequence[DeviceKind] = ALL_DEVICES,
) -> Path:
    """Export, prove and publish; returns the new bundle's folder. Artefacts are made for these devices.

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
    name = checkpoint.config.name if name is None else name
    with staging(repository, name) as folder:
        copy_assets(checkpoint.config.preprocess, run, folder)
        shutil.copytree(run / "golden", folder / "golden")
        say(f"exporting to ONNX, and making artefacts for {' and '.join(devices) or 'no other device'}")
        draft = _draft(checkpoint, graph, splits, name, folder, max_batch_size, devices)
        return publish(folder, repository, draft, _reference(checkpoint, graph, splits), _describe(checkpoint))


def publish(folder: Path, repository: Path, draft: Manifest, reference: Reference, description: str) -> Path:
    """Prove a draft, write its model card, and make it the next version; returns the bundle's folder."""
    manifest = prove(draft, folder, reference)
    (folder / "MODEL_CARD.md").write_text(model_card(manifest, description), encoding="utf-8")
    return commit(folder, repository, manifest.model_copy(update={"files": hashes(folder)}))


def _draft(
    checkpoint: Checkpoint,
    graph: Graph,
    splits: Splits,
    name: str,
    folder: Path,
    max_batch_size: int,
    devices: Sequence[DeviceKind],
) -> Manifest:
    """Make every artefact, unproven."""
    config = checkpoint.config
    inputs = config.preprocess.input_specs()
    outputs = MEANINGS[config.task](checkpoint.decode).output_specs(config.preprocess)
    calibration = _calibration(checkpoint, splits, folder)
    made = make_artefacts(graph, folder, config.task, inputs, outputs, calibration, devices)
    return Manifest(
        name=name,
        version=1,
        task=config.task,
        inputs=inputs,
        outputs=outputs,
        preprocess=config.preprocess,
        decode=checkpoint.decode,
        max_batch_size=max_batch_size,
        artefacts=made.artefacts,
        left_out=made.left_out,
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


def _calibration(checkpoint: Checkpoint, splits: Splits, folder: Path) -> list[Tensors]:
    """Rows that training saw; never validation or test."""
    config = checkpoint.config
    train, _ = train_and_validation(splits, config.validation_share, config.seed)
    prepare = load_preprocess(config.preprocess, folder)
    return [one.tensors for one in prepare_all(train, spread(train, NUM_CALIBRATION), prepare)]


def _reference(checkpoint: Checkpoint, graph: Graph, splits: Splits) -> Reference:
    config = checkpoint.config
    task = training_task(config.task)(splits.labels, config.preprocess)
    names = output_names(MEANINGS[config.task](checkpoint.decode), config.preprocess)
    compute = checkpoint_compute(graph, names)
    return Reference(
        "the checkpoint it was exported from", compute, splits.test, task.score, task.metric_name, task.better
    )


def _describe(checkpoint: Checkpoint) -> str:
    figures = ", ".join(f"{name} {value:.4f}" for name, value in checkpoint.validation.items())
    return f"Trained by recipe `{checkpoint.recipe}`; epoch {checkpoint.best_epoch} was best on validation ({figures})."
