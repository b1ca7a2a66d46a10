"""VOC folders: what is there is read, what is wrong is told with file and line."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from tests.builders import picture, png
from training.data.voc import VocFolder, load_voc, read_annotation

WIDTH, HEIGHT = 64, 48
Box = tuple[str, float, float, float, float]


def annotation(*boxes: Box) -> str:
    objects = "\n".join(
        f"  <object>\n    <name>{label}</name>\n    <bndbox>\n"
        f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>\n    </bndbox>\n  </object>"
        for label, x0, y0, x1, y1 in boxes
    )
    return f"<annotation>\n  <filename>x.jpg</filename>\n{objects}\n</annotation>\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures each for train, val and test."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / part).mkdir(parents=True)
    for i, part in enumerate(("train", "val", "test")):
        names = [f"{part}{j}" for j in range(3)]
        (tmp_path / f"ImageSets/Main/{part}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            (tmp_path / f"JPEGImages/{name}.png").write_bytes(png(picture(i, HEIGHT, WIDTH)))
            boxes = annotation(("cat", 1, 2, 30, 40), ("ant", 8, 8, 16, 16))
            (tmp_path / f"Annotations/{name}.xml").write_text(boxes)
    return tmp_path


def test_boxes_are_read_and_labels_sorted(folder: Path) -> None:
    splits = VocFolder(folder=folder).load()
    assert splits.labels == ("ant", "cat")
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (3, 3, 3)
    assert splits.train.target(0) == ((1, 1.0, 2.0, 30.0, 40.0), (0, 8.0, 8.0, 16.0, 16.0))
    assert splits.train.raw(0) == (folder / "JPEGImages/train0.png").read_bytes()
    assert splits.train.media_type(0) == "image/png"
    assert splits.sha256() == VocFolder(folder=folder).load().sha256()


def test_without_a_test_list_a_fifth_of_train_is_held_out(folder: Path) -> None:
    (folder / "ImageSets/Main/test.txt").unlink()
    splits = load_voc(folder)
    assert (len(splits.train), len(splits.test)) == (2, 1)


def test_without_any_list_all_annotated_pictures_count(folder: Path) -> None:
    for path in (folder / "ImageSets/Main").iterdir():
        path.unlink()
    splits = load_voc(folder)
    assert (len(splits.train), len(splits.test), splits.validation) == (7, 2, None)


def test_empty_boxes_are_left_out_with_a_note(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Annotations/train1.xml").write_text(annotation(("cat", 5, 5, 5, 9), ("cat", 5, 5, 9, 9)))
    assert load_voc(folder).train.target(1) == ((1, 5.0, 5.0, 9.0, 9.0),)
    assert capsys.readouterr().err == f"{folder}: 1 empty box(es) left out: {folder}/Annotations/train1.xml:3\n"


def test_a_picture_may_have_no_boxes(folder: Path) -> None:
    (folder / "Annotations/train1.xml").write_text(annotation())
    assert load_voc(folder).train.target(1) == ()


def test_a_box_that_counts_from_one_is_cut_to_its_picture(folder: Path) -> None:
    (folder / "Annotations/train0.xml").write_text(annotation(("cat", -1, 0, WIDTH + 1, HEIGHT)))
    assert load_voc(folder).train.target(0) == ((1, 0.0, 0.0, 64.0, 48.0),)


BROKEN = {
    "not well formed": ("<annotation>\n<object>\n</annotation>", r"train0\.xml:3: not well-formed XML: mismatched tag"),
    "empty": ("", r"train0\.xml:1: not well-formed XML: no element found"),
    "another document": ("<html></html>", r"train0\.xml:1: the outermost element is <html>"),
    "no name": ("<annotation>\n<object><bndbox/></object></annotation>", r"train0\.xml:2: this <object> has no <name>"),
    "no box": (
        "<annotation>\n\n<object><name>cat</name></object></annotation>",
        r"xml:3: .*'cat'.* no <bndbox>",
    ),
    "no number": (annotation(("cat", "left", 0, 1, 1)), r"train0\.xml:5: <xmin> is 'left', expected a number"),  # type: ignore[arg-type]
    "not a number": (annotation(("cat", 0, float("nan"), 1, 1)), r"train0\.xml:5: <ymin> is 'nan'"),
    "inside out": (
        annotation(("cat", 9, 0, 1, 1)),
        r"train0\.xml:3: the box .* is turned inside out",
    ),
    "outside": (annotation(("cat", 0, 0, 640, 480)), r"train0\.xml:3: .* reaches 576 pixels beyond .* 64 x 48"),
    "entities": (
        '<!DOCTYPE annotation [<!ENTITY a "aaaa">]>\n<annotation>&a;</annotation>',
        r"train0\.xml:1: declares a document type",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_annotation_is_told_with_file_and_line(kind: str, folder: Path) -> None:
    content, says = BROKEN[kind]
    (folder / "Annotations/train0.xml").write_text(content)
    with pytest.raises(DataError, match=says):
        load_voc(folder)


def test_a_label_that_train_does_not_know_is_told(folder: Path) -> None:
    (folder / "Annotations/test1.xml").write_text(annotation(("owl", 1, 2, 30, 40)))
    with pytest.raises(DataError, match=r"test1\.xml:3: label 'owl' is not among those of train: ant, cat"):
        load_voc(folder)


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("Annotations/val2.xml", r"val\.txt:3: no annotation .*val2\.xml"),
        ("JPEGImages/val2.png", r"val\.txt:3: no picture JPEGImages/val2\.\*"),
    ],
)
def test_a_missing_file_is_told_with_the_line_that_names_it(gone: str, says: str, folder: Path) -> None:
    (folder / gone).unlink()
    with pytest.raises(DataError, match=says):
        load_voc(folder)


def test_a_picture_that_is_none_is_told(folder: Path) -> None:
    (folder / "JPEGImages/train0.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"train0\.png: these 4 bytes are not a picture"):
        load_voc(folder)


def test_a_list_may_not_lead_out_of_the_folder(folder: Path) -> None:
    (folder / "ImageSets/Main/train.txt").write_text("../../secret\n")
    with pytest.raises(DataError, match=r"train\.txt:1: '\.\./\.\./secret' is not the bare name"):
        load_voc(folder)


def test_a_folder_that_is_no_voc_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no Annotations/\*\.xml"):
        load_voc(tmp_path)


def test_pictures_without_one_box_are_refused(folder: Path) -> None:
    for i in range(3):
        (folder / f"Annotations/train{i}.xml").write_text(annotation())
    with pytest.raises(DataError, match="3 pictures and not one box"):
        load_voc(folder)


def test_labels_may_be_of_any_script(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(annotation(("고양이", 0, 0, 1, 1)), encoding="utf-8")
    assert read_annotation(path)[0].label == "고양이"
