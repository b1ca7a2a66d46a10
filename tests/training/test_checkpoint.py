"""Checkpoints: rebuilt without pickle, refused when their files do not fit, honest about commit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import RunError
from bundle.golden import read_golden
from bundle.preprocess import ImageResize, TextTokens
from bundle.store import Bundle
from training.answers import checkpoint_compute
from training.checkpoint import copy_assets, load_checkpoint


def test_a_rebuilt_checkpoint_gives_its_recorded_golden_outputs(tiny_run: Path, tiny_bundle: Bundle) -> None:
    _, graph = load_checkpoint(tiny_run)
    samples = read_golden(tiny_run, tiny_bundle.manifest)
    outputs = checkpoint_compute(graph, ("scores",))([sample.inputs for sample in samples])
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


def test_a_checkpoint_says_how_its_outputs_become_answers(tiny_run: Path, tiny_bundle: Bundle) -> None:
    checkpoint, _ = load_checkpoint(tiny_run)
    assert checkpoint.decode == tiny_bundle.manifest.decode
    assert checkpoint.decode.labels == checkpoint.labels  # type: ignore[union-attr]


def test_the_files_that_preparing_needs_travel_along(tmp_path: Path) -> None:
    for name in ("run", "bundle"):
        (tmp_path / name).mkdir()
    (tmp_path / "run/words.json").write_text("{}", encoding="utf-8")
    (tmp_path / "run/other.json").write_text("{}", encoding="utf-8")
    texts = TextTokens(tokenizer="words.json", vocab_size=9, max_tokens=4)
    copy_assets(texts, tmp_path / "run", tmp_path / "bundle")
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["words.json"]
    copy_assets(ImageResize(height_px=4, width_px=4), tmp_path / "run", tmp_path / "bundle")
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["words.json"]
