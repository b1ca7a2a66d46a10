"""COCO folders: what is there is read, what is wrong is told with file and place."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from tests.builders import picture, png
from training.data.coco import CocoFolder


def box(**changes: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 40]} | changes


def document(part: str, **changes: Any) -> dict[str, Any]:
    return {
        "info": {"year": 2026},
        "images": [{"id": 7 + i, "file_name": f"{part}{i}.png", "width": 64, "height": 48} for i in range(3)],
        "annotations": [box(image_id=7 + i, category_id=3 - i % 2, id=i, area=1200) for i in range(3)],
        "categories": [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "ant"}],
    } | changes


def write(folder: Path, part: str, content: Any) -> None:
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / f"annotations/instances_{part}2026.json").write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "val", "test"):
        (tmp_path / f"images/{part}2026").mkdir(parents=True)
        for i in range(3):
            (tmp_path / f"images/{part}2026/{part}{i}.png").write_bytes(png(picture(i, 48, 64)))
        write(tmp_path, part, document(part))
    return tmp_path


def test_boxes_are_read_and_labels_sorted(folder: Path) -> None:
    splits = CocoFolder(folder=folder).load()
    assert splits.labels == ("ant", "cat")
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (3, 3, 3)
    assert splits.train.target(0) == ((1, 1.0, 2.0, 31.0, 42.0),)
    assert splits.train.target(1) == ((0, 1.0, 2.0, 31.0, 42.0),)


def test_files_beside_their_pictures_are_found_too(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
        for i in range(3):
            (tmp_path / part / f"{part}{i}.png").write_bytes(png(picture(i, 48, 64)))
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(document(part)))
    splits = CocoFolder(folder=tmp_path).load()
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (2, 3, 1)


def test_a_crowd_is_passed_over(folder: Path) -> None:
    crowd = {"id": 9, "image_id": 7, "category_id": 2, "bbox": [0, 0, 64, 48], "iscrowd": 1}
    write(folder, "train", document("train", annotations=[*document("train")["annotations"], crowd]))
    assert len(CocoFolder(folder=folder).load().train.target(0)) == 1


WRONG = {
    "image": ({"annotations": [box(image_id=1)]}, r"annotations\[0\]: image_id 1 is not among"),
    "category": ({"annotations": [box(category_id=1)]}, r"annotations\[0\]: category_id 1 is not among"),
    "box": ({"annotations": [box(bbox=[0, 0, 1])]}, r"length 4.*\$\.annotations\[0\]\.bbox"),
    "inside out": ({"annotations": [box(bbox=[9, 9, -5, 1])]}, r"annotations\[0\]: .* turned inside out"),
    "no categories": ({"categories": None}, r"Expected `array`, got `null` - at `\$\.categories`"),
    "no picture": ({"images": [{"id": 7, "file_name": "gone.png"}]}, r"images\[0\]: no picture 'gone.png'"),
    "outside": (
        {"images": [{"id": 7, "file_name": "../../../outside.png"}]},
        r"images\[0\]: .* lies outside of",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_document_is_told_with_file_and_place(kind: str, folder: Path) -> None:
    (folder.parent / "outside.png").write_bytes(png())
    changes, says = WRONG[kind]
    write(folder, "train", document("train") | {"annotations": []} | changes)
    with pytest.raises(DataError, match=says):
        CocoFolder(folder=folder).load()


def test_what_is_no_json_is_told_with_its_line(folder: Path) -> None:
    (folder / "annotations/instances_train2026.json").write_text('{"images": [],\n"annotations": oops}')
    with pytest.raises(DataError, match=r"train2026\.json:2: not JSON"):
        CocoFolder(folder=folder).load()


def test_two_files_for_one_split_are_refused(folder: Path) -> None:
    (folder / "annotations/captions_train2026.json").write_text("{}")
    with pytest.raises(DataError, match="2 files could be the train split"):
        CocoFolder(folder=folder).load()


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no annotations/\*train\*\.json"):
        CocoFolder(folder=tmp_path).load()
