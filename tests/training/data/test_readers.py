"""Readers: idx, image folders, arrays, the bundled digits; what is damaged is refused with file and cause."""

import gzip
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from bundle.preprocess import ImageResize, Limits, load_preprocess
from bundle.preprocess.image import prepare_image
from tests.builders import picture, png
from training.data.digits import Digits
from training.data.idx import read_idx
from training.data.image_folder import ImageFolder
from training.data.prepared import PreparedSplit
from training.data.samples import ArrayImages, Samples, hold_out


def prepared(samples: Samples, spec: ImageResize) -> PreparedSplit:
    return PreparedSplit(samples, load_preprocess(spec, Path()), lambda target, source: target)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_idx_is_read_as_its_header_says(packed: bool, tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    assert np.array_equal(read_idx(path), values)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an idx file"),
        (b"\x00\x00\x0d\x01" + b"\0" * 8, "unsigned bytes"),
        (b"\x00\x00\x08\x03\x00", "inside its header"),
        (idx(np.zeros(5, np.uint8))[:-1], "4 bytes follow"),
    ],
)
def test_a_damaged_idx_is_refused_with_file_and_cause(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "train.idx").write_bytes(content)
    with pytest.raises(DataError, match=says) as refusal:
        read_idx(tmp_path / "train.idx")
    assert "train.idx" in str(refusal.value)


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(np.zeros(1000, np.uint8)))[:20])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "x.gz")


def test_digits_are_split_once_whatever_the_seed() -> None:
    splits = Digits().load()
    assert (len(splits.train), len(splits.test)) == (1438, 359)
    assert splits.labels == tuple("0123456789")
    assert splits.sha256() == Digits().load().sha256()


def test_arrays_come_out_of_the_png_as_they_went_in() -> None:
    image = picture(height_px=8, width_px=8)
    samples = ArrayImages(image[None], np.array([3]))
    one = prepare_image(ImageResize(height_px=8, width_px=8), samples.raw(0), Limits())
    assert np.array_equal(one.tensors["image"], image)
    assert (samples.target(0), samples.media_type(0)) == (3, "image/png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(3):
                (tmp_path / part / label / f"{i}.png").write_bytes(png(seed=i))
    return tmp_path


def test_an_image_folder_gives_files_byte_for_byte(folder: Path) -> None:
    splits = ImageFolder(folder=folder).load()
    assert splits.labels == ("cat", "dog")
    assert [splits.train.target(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert splits.train.raw(4) == png(seed=1)
    assert splits.validation is None


def test_an_image_folder_with_its_own_validation_split(folder: Path) -> None:
    (folder / "test").rename(folder / "val")
    (folder / "test").mkdir()
    for label in ("cat", "dog"):
        (folder / "test" / label).mkdir()
        (folder / "test" / label / "0.png").write_bytes(png())
    splits = ImageFolder(folder=folder).load()
    assert splits.validation is not None
    assert (len(splits.validation), len(splits.test)) == (6, 2)


def test_an_image_folder_with_one_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train/cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"at least 2 labels is expected.*found one, 'cat'"):
        ImageFolder(folder=tmp_path).load()


def test_a_class_that_train_does_not_know_is_refused(folder: Path) -> None:
    (folder / "test/owl").mkdir()
    with pytest.raises(DataError, match="owl are not in train"):
        ImageFolder(folder=folder).load()


def test_an_empty_class_is_named(folder: Path) -> None:
    (folder / "train/owl").mkdir()
    with pytest.raises(DataError, match=r"no pictures .* for label owl"):
        ImageFolder(folder=folder).load()


def test_a_missing_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nope: cannot be read.*expected .*<label>/<picture>"):
        ImageFolder(folder=tmp_path / "nope").load()


def test_a_broken_picture_is_named_by_its_file(folder: Path) -> None:
    (folder / "train/dog/1.png").write_bytes(png()[:40])
    with pytest.raises(DataError, match=r"train/dog/1\.png: "):
        prepared(ImageFolder(folder=folder).load().train, ImageResize(height_px=4, width_px=4))


def test_a_prepared_split_is_what_serving_would_prepare() -> None:
    samples = Digits().load().test
    spec = ImageResize(height_px=8, width_px=8, color="grey")
    split = prepared(samples, spec)
    (images,) = split.inputs
    assert images.shape == (359, 8, 8, 1)
    for i in (0, 100, 358):
        assert np.array_equal(images[i].numpy(), prepare_image(spec, samples.raw(i), Limits()).tensors["image"])
    (inputs,), targets = split.__getitems__([5, 2])
    assert np.array_equal(inputs[1], images[2])
    assert targets == [samples.target(5), samples.target(2)]
    assert split.samples is samples


def test_holding_out_takes_the_same_share_of_every_label_and_loses_none() -> None:
    targets = np.array([0] * 100 + [1] * 50 + [2])
    samples = ArrayImages(np.zeros((151, 2, 2), np.uint8), targets)
    rest, held = hold_out(samples, 0.2, seed=0)
    assert sorted([*rest.indices, *held.indices]) == list(range(151))
    assert np.bincount([held.target(i) for i in range(len(held))], minlength=3).tolist() == [20, 10, 0]
    assert cv2.imdecode(np.frombuffer(held.raw(0), np.uint8), cv2.IMREAD_GRAYSCALE).shape == (2, 2)
