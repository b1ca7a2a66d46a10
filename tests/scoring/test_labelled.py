"""Which form lies at a place, and where the truths are: on a disk and in a store."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import fs

pytest.importorskip("jinja2", reason="evaluation belongs to the extra")

from bundle.errors import DataError
from bundle.store import open_bundle
from bundle.tasks.segmentation import VOID
from scoring.coco import annotations_in, read_coco
from scoring.evaluation import Settings, evaluate
from scoring.in_order import chunked, in_order
from scoring.labelled import open_labelled
from scoring.largest import Largest
from scoring.source import Columns
from scoring.store import place
from scoring.truths import LabelIndex, NoTruth, Truth, class_of_id, kind_of, plain
from tests.builders import LABELS
from tests.scoring.labelled import answers, pictures, write_coco, write_folders
from tests.scoring.s3 import Store


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ""), (float("nan"), ""), (3.0, "3"), (True, "true"), (" cat ", "cat"), (7, "7"), (0.5, "0.5")],
)
def test_cells_as_people_mean_them(value: Any, expected: str) -> None:
    assert plain(value) == expected


def test_labels_by_name_and_by_number() -> None:
    index = LabelIndex(LABELS)
    assert (index("dog"), index("1"), index(1), index(1.0)) == (Truth(1),) * 4
    assert index("3") == NoTruth("unknown label", "3")
    assert index("") == index(None) == NoTruth("no label")


def test_where_names_are_numbers_only_names_count() -> None:
    index = LabelIndex(("1", "2", "other"))
    assert (index("1"), index(2)) == (Truth(0), Truth(1))
    assert index("0") == NoTruth("unknown label", "0")


@pytest.mark.parametrize(
    ("value", "kind"),
    [("good", "good"), ("OK", "good"), (0, "good"), (False, "good"), (1, "anomalous"), ("hole", "hole"), ("", "")],
)
def test_kinds_of_anomalies(value: Any, kind: str) -> None:
    assert kind_of(value, "good") == kind


def test_values_of_masks_are_classes() -> None:
    classes, _ = class_of_id(LABELS, None)
    assert classes[[0, 2, 3, VOID]].tolist() == [0, 2, -1, VOID]
    classes, _ = class_of_id(("4", "7"), None)
    assert classes[[4, 7, 0]].tolist() == [0, 1, -1], "labels that are numbers are values of masks"
    classes, names = class_of_id(LABELS, {1: "owl", 2: "horse", 3: "void", 255: "cat"})
    assert classes[[1, 2, 3, 255, 0]].tolist() == [2, -1, VOID, 0, -1]
    assert names[2] == "horse"


def test_the_largest_are_kept_and_the_first_of_equals() -> None:
    kept = Largest[str](2)
    for size, name in ((1.0, "a"), (3.0, "b"), (2.0, "c"), (3.0, "d")):
        kept.add(size, name)
    assert kept.items() == [(3.0, "b"), (3.0, "d")]
    none = Largest[str](0)
    none.add(1.0, "a")
    assert none.items() == []


def test_work_is_done_in_order_and_never_far_ahead() -> None:
    taken: list[int] = []

    def items() -> Any:
        for i in range(100):
            taken.append(i)
            yield i

    for item, done in in_order(items(), lambda i: i * i, 2):
        assert done == item * item
        assert len(taken) - item <= 8
    assert len(taken) == 100
    assert list(chunked(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]


def test_what_a_worker_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(iter([1, 0]), lambda i: 1 // i, 2))


def test_which_json_file_is_meant(tmp_path: Path) -> None:
    write_coco(tmp_path, pictures(1), [[("cat", (1, 1, 9, 9))]])
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    found = annotations_in(place(str(tmp_path)))
    assert found is not None
    assert found.path.endswith("/test.json")
    (tmp_path / "test.json").rename(tmp_path / "more.json")
    with pytest.raises(DataError, match="2 JSON files could be the annotations"):
        annotations_in(place(str(tmp_path)))
    (tmp_path / "more.json").unlink()
    found = annotations_in(place(str(tmp_path)))
    assert found is not None
    with pytest.raises(DataError, match="missing required field `images`; expected"):
        read_coco(place(str(tmp_path)), found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}], "categories": []}',
         r"annotations\[0\]: image_id 1 is not among the images"),
        ('{"images": [{"id": 0, "file_name": "../secret.png"}], "annotations": [], "categories": []}',
         r"no picture '\.\./secret\.png'"),
    ],
)  # fmt: skip
def test_annotations_that_are_none(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(pictures(1)[0])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.json").write_text(content, encoding="utf-8")
    where = place(str(tmp_path / "data"))
    found = annotations_in(where)
    assert found is not None
    with pytest.raises(DataError, match=message):
        read_coco(where, found)


def test_a_task_without_its_form_says_what_is_read(mask_bundle: Path, text_bundle: Path, tmp_path: Path) -> None:
    write_folders(tmp_path / "data", ["cat"], pictures(1))
    with pytest.raises(DataError, match="no folders images and masks; read is FOLDER/images and FOLDER/masks"):
        open_labelled(place(str(tmp_path / "data")), open_bundle(mask_bundle).manifest, Columns())
    with pytest.raises(DataError, match="which column holds the labels"):
        open_labelled(place(str(tmp_path / "data")), open_bundle(text_bundle).manifest, Columns())


def test_folders_in_a_bucket(picture_bundle: Path, s3: Store, tmp_path: Path) -> None:
    raws = pictures(6)
    labels = [answer.label for answer in answers(picture_bundle, raws)]
    bucket = s3.make_bucket()
    where = place(f"s3://{bucket}/data{s3.query}")
    local = write_folders(tmp_path / "data", labels, raws)
    fs.copy_files(str(local), where.path, destination_filesystem=where.files, use_threads=False)
    done = evaluate(Settings(picture_bundle, f"s3://{bucket}/data{s3.query}", worst=3))
    assert done.figures == {"accuracy": 1.0}
    assert done.rows.judged == 6
    assert np.isfinite(done.seconds)
