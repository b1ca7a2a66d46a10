"""Golden samples come back as they were written, or the bundle is refused."""

import shutil
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from bundle.errors import BundleError
from bundle.golden import ANSWERS_FILE, SUFFIXES, TENSORS_FILE, Golden, read_golden, write_golden
from bundle.manifest import Manifest
from bundle.preprocess.image import FORMATS
from bundle.store import read_manifest
from bundle.tasks.classification import Classification, LabelScore
from bundle.tensors import Array
from tests.builders import write_fake_bundle

ANSWER = Classification("cat", 0.75, (LabelScore("cat", 0.75), LabelScore("dog", 0.25)))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(write_fake_bundle(tmp_path_factory.mktemp("models")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that may be spoilt."""
    return write_fake_bundle(tmp_path)


def sample(scores: Array, media_type: str = "image/png") -> Golden:
    return Golden(b"raw bytes", media_type, {"image": np.zeros((8, 8, 3), np.uint8)}, {"scores": scores}, ANSWER)


def round_trip(folder: Path, manifest: Manifest, samples: list[Golden]) -> list[Golden]:
    golden = write_golden(folder, samples)
    return read_golden(folder, manifest.model_copy(update={"golden": golden}))


def same(one: Golden, other: Golden) -> bool:
    return all(
        all(np.array_equal(array, getattr(other, side)[name]) for name, array in getattr(one, side).items())
        for side in ("inputs", "outputs")
    ) and all(
        getattr(one, field.name) == getattr(other, field.name)
        for field in fields(Golden)
        if field.name not in ("inputs", "outputs")
    )


def test_samples_come_back_as_they_were_written(tmp_path: Path, manifest: Manifest) -> None:
    samples = [sample(np.array([0.5, 0.25, 0.25], np.float32) * i) for i in range(12)]
    again = round_trip(tmp_path, manifest, samples)
    assert len(again) == 12
    assert all(same(one, other) for one, other in zip(samples, again, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8", "int32", "int64", "bool"])
def test_tensors_keep_their_type(tmp_path: Path, manifest: Manifest, dtype: str) -> None:
    written = np.array([1, 0, 1]).astype(dtype)
    read = round_trip(tmp_path, manifest, [sample(written)])[0].outputs["scores"]
    assert (read.dtype, read.tolist()) == (written.dtype, written.tolist())


def test_tensors_need_not_be_contiguous(tmp_path: Path, manifest: Manifest) -> None:
    scores = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    assert np.array_equal(round_trip(tmp_path, manifest, [sample(scores)])[0].outputs["scores"], scores)


def test_a_row_that_is_a_single_number_keeps_its_shape(tmp_path: Path, manifest: Manifest) -> None:
    score = np.array(0.5, np.float32)  # a row of a graph that gives one number an input, such as an anomaly score
    assert round_trip(tmp_path, manifest, [sample(score)])[0].outputs["scores"].shape == ()


@pytest.mark.parametrize("media_type", SUFFIXES)
def test_raw_files_are_named_by_their_media_type(tmp_path: Path, media_type: str) -> None:
    (named,) = write_golden(tmp_path, [sample(np.zeros(3, np.float32), media_type)])
    assert (named.file, named.media_type) == (f"golden/00.{SUFFIXES[media_type]}", media_type)


def test_every_picture_that_is_read_can_be_a_golden_sample() -> None:
    assert set(FORMATS.values()) <= SUFFIXES.keys()


def test_answers_are_readable_for_people(folder: Path) -> None:
    text = (folder / ANSWERS_FILE).read_text(encoding="utf-8")
    assert len(text.splitlines()) > 10
    assert len(msgspec.json.decode(text, type=list[Classification])) == 3


@pytest.mark.parametrize("file", [TENSORS_FILE, ANSWERS_FILE, "golden/01.png"])
def test_a_missing_file_is_named(folder: Path, manifest: Manifest, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(BundleError, match=f"{folder}: the golden samples cannot be read: .*{file}"):
        read_golden(folder, manifest)


@pytest.mark.parametrize("file", [TENSORS_FILE, ANSWERS_FILE])
@pytest.mark.parametrize("content", [b"", b"junk" * 9, b"[" * 100_000, b"{}"])
def test_a_damaged_file_is_refused(folder: Path, manifest: Manifest, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"{folder}: the golden samples cannot be read"):
        read_golden(folder, manifest)


@pytest.mark.parametrize("name", ["1.inputs.image", "2.outputs.scores"])
def test_a_missing_tensor_is_named_with_its_file(folder: Path, manifest: Manifest, name: str) -> None:
    tensors = safetensors.numpy.load_file(folder / TENSORS_FILE)
    del tensors[name]
    safetensors.numpy.save_file(tensors, folder / TENSORS_FILE)
    with pytest.raises(BundleError, match=f"{TENSORS_FILE}.*{name}"):
        read_golden(folder, manifest)


def test_fewer_answers_than_samples_are_refused_with_both_numbers(folder: Path, manifest: Manifest) -> None:
    (folder / ANSWERS_FILE).write_bytes(msgspec.json.encode([ANSWER]))
    with pytest.raises(BundleError, match=f"{ANSWERS_FILE}.* 1 .* 3 "):
        read_golden(folder, manifest)


def test_an_answer_of_another_task_is_refused(folder: Path, manifest: Manifest) -> None:
    (folder / ANSWERS_FILE).write_bytes(b'[{"boxes": []}, {"boxes": []}, {"boxes": []}]')
    with pytest.raises(BundleError, match="missing required field `label`"):
        read_golden(folder, manifest)


def test_samples_are_found_wherever_the_bundle_lies(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert len(read_golden(moved, manifest)) == 3
