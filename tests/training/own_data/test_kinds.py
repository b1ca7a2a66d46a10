"""Data of one's own: settings follow from a look at the data, and wrong data is refused before anything is trained."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError, RunError
from tests.builders import picture, png
from training.commands import train_command
from training.own_data import OWN_DATA, load_own_data

ANNOTATION = """<annotation><filename>{name}.png</filename><size><width>64</width><height>48</height></size>
<object><name>cell</name><bndbox><xmin>8</xmin><ymin>6</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object></annotation>"""


def pictures(folder: Path, count: int, height_px: int = 48, width_px: int = 64) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"{i}.png").write_bytes(png(picture(i, height_px, width_px)))


def reviews(path: Path, counts: dict[str, int], encoding: str = "utf-8") -> Path:
    lines = [f"{label} 영화 {i}번,{label}" for label, count in counts.items() for i in range(count)]
    path.write_bytes("\n".join(["review,stars", *lines]).encode(encoding))
    return path


def test_every_kind_can_be_loaded() -> None:
    assert all(callable(load_own_data(kind)) for kind in OWN_DATA)
    with pytest.raises(RunError, match="kind of model 'regressor' is not known"):
        load_own_data("regressor")


def test_pictures_by_label_are_taken_at_their_usual_size(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        pictures(tmp_path / label, 8)
    config = load_own_data("image_classifier")(tmp_path)
    assert (config.preprocess.height_px, config.preprocess.width_px) == (48, 64)
    assert not config.balance_labels
    assert len(config.data.load().test) == 4


def test_rare_labels_are_drawn_more_often(tmp_path: Path) -> None:
    pictures(tmp_path / "common", 40)
    pictures(tmp_path / "rare", 5)
    assert load_own_data("image_classifier")(tmp_path).balance_labels


def test_one_label_only_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "cat", 8)
    with pytest.raises(DataError, match=r"at least 2 labels is expected.*found one, .cat."):
        load_own_data("image_classifier")(tmp_path)


def test_too_few_pictures_of_a_label_are_refused_by_name(tmp_path: Path) -> None:
    pictures(tmp_path / "cat", 8)
    pictures(tmp_path / "dog", 2)
    with pytest.raises(DataError, match=r"dog: 2 picture\(s\); at least 3"):
        load_own_data("image_classifier")(tmp_path)


def test_a_voc_folder_makes_a_detector(tmp_path: Path) -> None:
    pictures(tmp_path / "JPEGImages", 10)
    (tmp_path / "Annotations").mkdir()
    for i in range(10):
        (tmp_path / "Annotations" / f"{i}.xml").write_text(ANNOTATION.format(name=i), encoding="utf-8")
    config = load_own_data("detector")(tmp_path)
    assert config.task == "object-detection"
    assert config.data.load().labels == ("cell",)


def test_a_folder_that_is_neither_voc_nor_coco_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither Pascal VOC .* nor COCO"):
        load_own_data("detector")(tmp_path)


def test_good_pictures_alone_make_an_anomaly_detector_that_says_what_it_tests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "good", 20, 64, 64)
    config = load_own_data("anomaly_detector")(tmp_path / "good")
    assert config.task == "anomaly-detection"
    assert "defects painted on good ones" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_texts_in_any_stated_encoding_train_from_the_command_line(tmp_path: Path, encoding: str) -> None:
    data = reviews(tmp_path / "reviews.csv", {"good": 20, "bad": 20}, encoding)
    arguments = ["--data", str(data), "--text", "review", "--label", "stars", "--name", "mine", "--num-epochs", "1"]
    train_command(["text_classifier", *arguments, "--out", str(tmp_path / "runs")])
    assert (tmp_path / "runs" / "mine" / "results.json").is_file()
    assert (tmp_path / "runs" / "mine" / "tokenizer.json").is_file()


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    data = reviews(tmp_path / "reviews.csv", {"good": 20, "bad": 20})
    with pytest.raises(DataError, match=r"'text'.*'?review'?"):
        load_own_data("text_classifier")(data, "text", "stars")
