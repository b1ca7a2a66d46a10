"""A checkpoint: checkpoint.json + weights.safetensors + golden samples, all that is needed to rebuild and to prove.

Export reads it without knowing recipes or the loop. Nothing in it is ever unpickled. Knows a Graph and how to
rebuild it.
"""

import platform
import subprocess
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError

from bundle.errors import RunError
from bundle.golden import Golden, write_golden
from bundle.manifest import GoldenSample
from bundle.preprocess import Limits, prepare
from bundle.spec import Sha256, Spec, problems
from bundle.tasks import Task
from bundle.tensors import Tensors, stack, unstack
from training.config import TrainConfig
from training.data import Samples
from training.graph import Graph, ImageStem
from training.tasks import training_task

CHECKPOINT_FILE = "checkpoint.json"
WEIGHTS_FILE = "weights.safetensors"
NUM_GOLDEN = 16
FORWARD_BATCH = 64
LIBRARIES = ("torch", "lightning", "numpy", "opencv-python-headless", "modelyard")


class Checkpoint(Spec):
    """What the weights are and where they come from."""

    recipe: str
    config: TrainConfig
    labels: tuple[str, ...]
    data_sha256: Sha256
    best_epoch: int
    validation: dict[str, float]
    golden: tuple[GoldenSample, ...]
    commit: str
    versions: dict[str, str]


def new_graph(config: TrainConfig, labels: tuple[str, ...]) -> Graph:
    """The module to train, with fresh weights."""
    task = training_task(config.task)(labels)
    channels = config.preprocess.channels
    return Graph(ImageStem(channels), config.model.build(channels, task.num_outputs), task.tail())


def save_checkpoint(folder: Path, checkpoint: Checkpoint, graph: Graph) -> None:
    """Write weights first and the document last, so that a document always has its weights."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in graph.state_dict().items()}
    safetensors.torch.save_file(weights, folder / WEIGHTS_FILE)
    (folder / CHECKPOINT_FILE).write_text(checkpoint.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> tuple[Checkpoint, Graph]:
    """Read a finished run's checkpoint and rebuild its module, on the CPU, in evaluation mode.

    Raises:
        RunError: not a finished run, or its files do not fit each other.
    """
    path = folder / CHECKPOINT_FILE
    try:
        checkpoint = Checkpoint.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{folder}: no {CHECKPOINT_FILE}; this is not the folder of a finished run") from None
    except ValidationError as cause:
        raise RunError(f"{path}: {problems(cause)}") from None
    graph = new_graph(checkpoint.config, checkpoint.labels)
    try:
        graph.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, RuntimeError) as cause:
        raise RunError(f"{folder / WEIGHTS_FILE}: does not fit {CHECKPOINT_FILE}: {cause}") from None
    return checkpoint, graph.eval()


def forward_rows(graph: Graph, rows: list[Tensors], output_names: tuple[str, ...]) -> list[Tensors]:
    """The checkpoint's own outputs for prepared rows, in float32 on the CPU: what artefacts are held to."""
    graph = graph.eval().float().cpu()
    outputs: list[Tensors] = []
    with torch.inference_mode():
        for start in range(0, len(rows), FORWARD_BATCH):
            batch = stack(rows[start : start + FORWARD_BATCH])
            values = graph(*(torch.from_numpy(array) for array in batch.values()))
            named = zip(output_names, (values,) if isinstance(values, torch.Tensor) else values, strict=True)
            outputs += unstack({name: value.numpy() for name, value in named})
    return outputs


def record_golden(
    folder: Path, config: TrainConfig, graph: Graph, task: Task, samples: Samples
) -> tuple[GoldenSample, ...]:
    """Answer chosen samples with the checkpoint and write them under `folder`/golden, with tensors and answers."""
    chosen = spread(samples, NUM_GOLDEN)
    raws = [samples.raw(i) for i in chosen]
    prepared = [prepare(config.preprocess, raw, Limits()) for raw in raws]
    names = tuple(spec.name for spec in task.output_specs())
    outputs = forward_rows(graph, [one.tensors for one in prepared], names)
    options = task.golden_options()
    golden = [
        Golden(raw, samples.media_type(i), one.tensors, row, task.decode(row, one.source, options))
        for i, raw, one, row in zip(chosen, raws, prepared, outputs, strict=True)
    ]
    return write_golden(folder, golden)


def spread(samples: Samples, count: int) -> list[int]:
    """Indices of `count` samples, going round the targets so that each is seen as early as possible."""
    by_target: dict[object, list[int]] = {}
    for i in range(len(samples)):
        by_target.setdefault(samples.target(i), []).append(i)
    rounds = zip_longest(*(by_target[target] for target in sorted(by_target, key=repr)))
    return [i for turn in rounds for i in turn if i is not None][:count]


def code_commit() -> str:
    """This code's git commit, `-dirty` where files of training or bundle differ, or "unknown" outside a checkout."""
    folder = Path(__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", "checkpoint.py")  # installed inside somebody else's checkout?
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", ":/training", ":/bundle")
        return f"{head}-dirty" if changed else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def library_versions() -> dict[str, str]:
    """Versions that the numbers may depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
