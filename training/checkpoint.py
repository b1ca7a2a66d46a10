"""A checkpoint: checkpoint.json + weights.safetensors + golden samples, all that is needed to rebuild and to prove.

Export reads it without knowing recipes or the loop. Nothing in it is ever unpickled. Knows a Graph and how to
rebuild it.
"""

import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
from pydantic import ValidationError
from safetensors import SafetensorError

from bundle.errors import RunError
from bundle.manifest import GoldenSample
from bundle.preprocess import Preprocess
from bundle.spec import Sha256, Spec, problems
from bundle.tasks import Decode
from training.config import TrainConfig
from training.graph import Graph, new_stem
from training.tasks import training_task

CHECKPOINT_FILE = "checkpoint.json"
WEIGHTS_FILE = "weights.safetensors"
LIBRARIES = ("torch", "lightning", "numpy", "opencv-python-headless", "modelyard")


class Checkpoint(Spec):
    """What the weights are and where they come from."""

    recipe: str
    config: TrainConfig
    labels: tuple[str, ...]
    decode: Decode
    """How its outputs become answers."""
    data_sha256: Sha256
    best_epoch: int
    validation: dict[str, float]
    golden: tuple[GoldenSample, ...]
    commit: str
    versions: dict[str, str]


def new_graph(config: TrainConfig, labels: tuple[str, ...]) -> Graph:
    """The module to train, with fresh weights."""
    task = training_task(config.task)(labels, config.preprocess)
    return Graph(new_stem(config.preprocess), config.model.build(config.preprocess, task.num_outputs), task.tail())


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


def copy_assets(preprocess: Preprocess, source: Path, target: Path) -> None:
    """Copy the files that preparing needs from one folder to another."""
    for asset in preprocess.assets():
        shutil.copyfile(source / asset, target / asset)


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
