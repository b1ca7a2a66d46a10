"""Checkpoints: rebuilt without pickle, refused when their files do not fit, honest about commit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import RunError
from bundle.golden import read_golden
from bundle.store import Bundle
from training.checkpoint import forward_rows, load_checkpoint, spread
from training.data.samples import ArrayImages


def test_a_rebuilt_checkpoint_gives_its_recorded_golden_outputs(tiny_run: Path, tiny_bundle: Bundle) -> None:
    _, graph = load_checkpoint(tiny_run)
    samples = read_golden(tiny_run, tiny_bundle.manifest)
    outputs = forward_rows(graph, [sample.inputs for sample in samples], ("scores",))
    for sample, row in zip(samples, outputs, strict=True):
        np.testing.assert_allclose(row["scores"], sample.outputs["scores"], atol=1e-6)


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no checkpoint\.json.*finished run"):
        load_checkpoint(tmp_path)


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_weights_of_another_size_are_refused(copy: Path) -> None:
    path = copy / "checkpoint.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["config"]["model"]["channels"] = [8, 32]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match=r"weights\.safetensors: does not fit"):
        load_checkpoint(copy)


def test_damaged_weights_are_refused(copy: Path) -> None:
    (copy / "weights.safetensors").write_bytes(b"junk")
    with pytest.raises(RunError, match=r"weights\.safetensors"):
        load_checkpoint(copy)


def test_an_unknown_architecture_is_refused_with_the_known_ones(copy: Path) -> None:
    path = copy / "checkpoint.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["config"]["model"]["architecture"] = "nope"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match="known are cnn"):
        load_checkpoint(copy)


def test_spreading_goes_round_the_targets() -> None:
    samples = ArrayImages(np.zeros((7, 2, 2), np.uint8), np.array([0, 0, 0, 0, 1, 1, 2]))
    assert spread(samples, 5) == [0, 4, 6, 1, 5]
    assert spread(samples, 99) == [0, 4, 6, 1, 5, 2, 3]
