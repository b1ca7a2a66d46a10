"""Masks of one's own: what is read means what it says, and what is wrong is named by its file."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from bundle.tensors import Array
from tests.builders import picture, png
from training.data import data_config
from training.data.mask_folder import MIN_SAMPLES, MaskFolder, read_mask
from training.data.samples import Splits

NUM = 12


def mask(seed: int, values: tuple[int, ...] = (0, 1, 2)) -> Array:
    return np.random.default_rng(seed).choice(values, (12, 16)).astype(np.uint8)


def write(folder: Path, num: int = NUM, values: tuple[int, ...] = (0, 1, 2)) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i in range(num):
        (folder / f"images/{i:02}.png").write_bytes(png(seed=i))
        cv2.imwrite(str(folder / f"masks/{i:02}.png"), mask(i, values))
    return folder


def load(folder: Path) -> Splits:
    return MaskFolder(folder=folder).load()


def test_a_share_is_held_out_for_the_test_whatever_the_seed(tmp_path: Path) -> None:
    splits = load(write(tmp_path))
    assert (len(splits.train), len(splits.test), splits.validation) == (10, 2, None)
    assert splits.labels == ("0", "1", "2")
    assert splits.sha256() == load(tmp_path).sha256()


def test_parts_of_ones_own_are_kept(tmp_path: Path) -> None:
    for part, num in (("train", NUM), ("val", 3), ("test", 2)):
        write(tmp_path / part, num)
    splits = load(tmp_path)
    assert splits.validation is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [NUM, 3, 2]
    assert splits.train.raw(3) == png(seed=3)
    assert np.array_equal(splits.train.target(3), mask(3))


def test_classes_csv_names_the_classes_and_says_what_is_void(tmp_path: Path) -> None:
    write(tmp_path, values=(3, 7, 20))
    (tmp_path / "classes.csv").write_text("id,name,red\n20,나무,1\n3,road,2\n7,Unlabelled,3\n", encoding="utf-8-sig")
    splits = load(tmp_path)
    assert splits.labels == ("road", "나무")
    target = splits.test.target(0)
    assert set(np.unique(target)) == {0, 1, 255}


def test_255_is_void_unless_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, values=(0, 1, 255))
    assert load(tmp_path).labels == ("0", "1")
    (tmp_path / "classes.csv").write_text("id,name\n0,ground\n1,cat\n255,dog\n", encoding="utf-8")
    splits = load(tmp_path)
    assert splits.labels == ("ground", "cat", "dog")
    assert set(np.unique(splits.train.target(0))) == {0, 1, 2}


def test_the_configuration_survives_json(tmp_path: Path) -> None:
    config = MaskFolder(folder=tmp_path, test_share=0.3)
    assert data_config(config.model_dump(mode="json")) == config


def palette(path: Path) -> None:
    image = Image.fromarray(mask(0)).convert("P")
    image.putpalette([i for i in range(256) for _ in range(3)])
    image.putdata(mask(0).ravel().tolist())
    image.save(path)


FORMS: dict[str, Callable[[Path], object]] = {
    "grey": lambda path: cv2.imwrite(str(path), mask(0)),
    "grey saved as colour": lambda path: cv2.imwrite(str(path), np.repeat(mask(0)[..., None], 3, axis=2)),
    "palette": palette,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_of_any_of_these_forms_is_read_as_its_values(form: str, tmp_path: Path) -> None:
    FORMS[form](tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask(0))


def test_a_black_and_white_mask_is_zeros_and_ones(tmp_path: Path) -> None:
    Image.fromarray(mask(0, (0, 1)) * 255).convert("1").save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask(0, (0, 1)))


def remove_mask(folder: Path) -> None:
    (folder / "masks/03.png").unlink()


def remove_picture(folder: Path) -> None:
    (folder / "images/03.png").unlink()


def enlarge(folder: Path) -> None:
    cv2.imwrite(str(folder / "masks/03.png"), np.ones((12, 17), np.uint8))


def colour(folder: Path) -> None:
    cv2.imwrite(str(folder / "masks/03.png"), picture())


def sixteen_bits(folder: Path) -> None:
    cv2.imwrite(str(folder / "masks/03.png"), np.ones((12, 16), np.uint16))


def break_mask(folder: Path) -> None:
    (folder / "masks/03.png").write_bytes(b"no picture")


def break_picture(folder: Path) -> None:
    (folder / "images/03.png").write_bytes(png()[:20])


def stranger(folder: Path) -> None:
    (folder / "classes.csv").write_text("id,name\n0,a\n1,b\n", encoding="utf-8")
    for i in range(NUM):
        values = (0, 1, 9) if i == 3 else (0, 1)
        cv2.imwrite(str(folder / f"masks/{i:02}.png"), mask(i, values))


def twice(folder: Path) -> None:
    (folder / "images/03.jpg").write_bytes(png())


DAMAGES = {
    remove_mask: r"images/03\.png: has no mask .*masks/03\.png",
    remove_picture: r"masks/03\.png: has no picture",
    enlarge: r"masks/03\.png: 17 x 12 pixels; its picture 03\.png is 16 x 12",
    colour: r"masks/03\.png: a mask of colours; expected 8-bit grey",
    sixteen_bits: r"masks/03\.png: a mask of 'I;16' pixels",
    break_mask: r"masks/03\.png: cannot be read as a mask",
    break_picture: r"images/03\.png: ",
    stranger: r"masks/03\.png: holds ids 9, which classes\.csv does not name",
    twice: r"images/03\.\w+: of the same name as .*images/03",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_wrong_is_named_by_its_file(damage: Callable[[Path], None], tmp_path: Path) -> None:
    damage(write(tmp_path))
    with pytest.raises(DataError, match=DAMAGES[damage]):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,name\n0,a\nx,b\n", r"classes\.csv:3: id 'x'"),
        ("id,name\n0,a\n256,b\n", r"classes\.csv:3: id '256'"),
        ("id,name\n0,a\n0,b\n", r"classes\.csv:3: id 0 or name 'b' is there twice"),
        ("number;label\n0;a\n", r"classes\.csv:2: .*expected columns id .* and name"),
    ],
)
def test_what_is_wrong_in_classes_csv_is_named_by_its_line(text: str, says: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "classes.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        load(tmp_path)


@pytest.mark.parametrize("values", [(0,), (5,), (0, 255)])
def test_one_class_only_is_refused(values: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one class only"):
        load(write(tmp_path, values=values))


def test_five_samples_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"5 pictures to train with; at least {MIN_SAMPLES}"):
        load(write(tmp_path, 5))


def test_a_train_part_without_a_test_part_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train")
    with pytest.raises(DataError, match="no test part"):
        load(tmp_path)


@pytest.mark.parametrize("made", [(), ("images",), ("images", "masks")])
def test_a_folder_of_another_form_says_what_is_expected(made: tuple[str, ...], tmp_path: Path) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"expected images/NAME\.jpg and masks/NAME\.png|no pictures"):
        load(tmp_path)


def test_a_picture_that_was_turned_has_a_mask_as_people_see_it(tmp_path: Path) -> None:
    write(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture())).save(tmp_path / "images/03.jpg", exif=exif)
    (tmp_path / "images/03.png").unlink()
    assert load(tmp_path).labels == ("0", "1", "2")
