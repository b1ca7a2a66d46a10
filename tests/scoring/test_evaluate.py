"""Labelled data through a whole evaluation: every form of truth, what has none, and the report."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

pytest.importorskip("jinja2", reason="reports need it")

from bundle.errors import BadInput, DataError
from scoring.evaluation import Evaluation, Settings, evaluate
from scoring.report import METRICS_FILE, REPORT_FILE, write_evaluation
from scoring.source import Columns
from tests.builders import LABELS, write_fake_bundle
from tests.conformance.examples import KINDS
from tests.scoring.labelled import HOSTILE, answers, pictures, write_coco, write_csv, write_folders, write_masks
from tests.scoring.running import environment, write_example_bundle


def run(bundle: Path, data: Path, *targets: str, column: str = "", **more: Any) -> Evaluation:
    columns = Columns((column,) if column else ())
    return evaluate(Settings(bundle, str(data), columns, targets, workers=2, **more))


def other(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % len(LABELS)]


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path) -> Page:
    return Page((folder / REPORT_FILE).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def raws() -> list[bytes]:
    return pictures(12)


@pytest.fixture(scope="module")
def right(picture_bundle: Path, raws: list[bytes]) -> list[str]:
    return [answer.label for answer in answers(picture_bundle, raws)]


def test_folders_named_after_labels(picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path) -> None:
    labels = [other(label) if i < 3 else label for i, label in enumerate(right)]
    done = run(picture_bundle, write_folders(tmp_path / "data", labels, raws))
    assert done.figures == {"accuracy": 0.75}
    assert (done.rows.read, done.rows.judged, done.rows.wrong) == (12, 12, 3)
    sures = [wrong for wrong, _ in done.worst]
    assert sures == sorted(sures, reverse=True)
    assert done.evidence() == ("accuracy", 1.0, 3)


def test_the_test_part_of_a_folder_is_what_is_judged(
    picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path
) -> None:
    write_folders(tmp_path / "train", [other(label) for label in right], raws)
    write_folders(tmp_path / "test", right, raws)
    assert run(picture_bundle, tmp_path).figures == {"accuracy": 1.0}


@pytest.mark.parametrize("by_number", [False, True])
def test_a_table_with_a_column_of_labels(
    by_number: bool, picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path
) -> None:
    rows = []
    for i, raw in enumerate(raws):
        (tmp_path / f"{i}.png").write_bytes(raw)
        rows.append([f"{i}.png", LABELS.index(right[i]) if by_number else right[i]])
    table = write_csv(tmp_path / "data.csv", ["image", "label"], rows)
    assert run(picture_bundle, table).figures == {"accuracy": 1.0}
    table = write_csv(tmp_path / "data.csv", ["image", "animal"], rows)
    assert run(picture_bundle, table, "animal").figures == {"accuracy": 1.0}
    with pytest.raises(DataError, match=r"which column holds the truths\? It has 'image', 'animal'"):
        run(picture_bundle, table)


def test_rows_without_a_known_label_are_counted_and_told(
    picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path
) -> None:
    rows: list[list[str]] = []
    for i, raw in enumerate(raws):
        (tmp_path / f"{i}.png").write_bytes(raw)
        rows.append([f"{i}.png", right[i]])
    rows += [["0.png", ""], ["1.png", HOSTILE], ["2.png", HOSTILE], ["none.png", "cat"], ["3.png", " "]]
    done = run(picture_bundle, write_csv(tmp_path / "data.csv", ["image", "label"], rows))
    assert done.figures == {"accuracy": 1.0}
    assert done.rows.left_out == {"no label": 2, "unknown label": 2, "BadInput": 1}
    assert done.rows.read == done.rows.judged + done.rows.left_out.total() == 17
    assert done.rows.unknown == {HOSTILE: 2}
    assert "none.png" in done.rows.first["BadInput"]
    assert done.never_seen() == [label for label in LABELS if label not in right]


def test_nothing_that_can_be_judged_is_an_error_that_says_why(
    picture_bundle: Path, raws: list[bytes], tmp_path: Path
) -> None:
    data = write_folders(tmp_path / "data", ["horse"] * 6 + ["cow"] * 6, raws)
    expected = (
        r"none of 12 rows can be judged: 12 unknown label.*have 'cow', 'horse'; the model knows 'cat', 'dog', 'owl'"
    )
    with pytest.raises(DataError, match=expected):
        run(picture_bundle, data)
    with pytest.raises(DataError, match="there are no rows"):
        run(picture_bundle, write_csv(tmp_path / "empty.csv", ["image", "label"], []))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="there is no file"):
        run(picture_bundle, tmp_path / "nothing")
    flat = write_folders(tmp_path / "flat", ["."] * 2, raws[:2])
    with pytest.raises(DataError, match="no folder with pictures"):
        run(picture_bundle, flat)


def test_a_column_that_holds_no_labels_is_refused(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoring.evaluation.MAX_LABELS", 5)
    table = write_csv(tmp_path / "data.csv", ["text", "id"], [["a b c", f"row {i}"] for i in range(20)])
    with pytest.raises(DataError, match="more than 5 different labels that the model does not know"):
        run(text_bundle, table, "id")


def test_texts_with_labels(text_bundle: Path, tmp_path: Path) -> None:
    texts = [raw.decode() for raw in KINDS["text-tokens"].raws]
    labels = [answer.label for answer in answers(text_bundle, KINDS["text-tokens"].raws)]
    table = write_csv(tmp_path / "data.csv", ["text", "label"], list(zip(texts, labels, strict=True)))
    assert run(text_bundle, table).figures == {"accuracy": 1.0}
    wrong = write_csv(tmp_path / "wrong.csv", ["text", "label"], [[HOSTILE, label] for label in LABELS])
    done = run(text_bundle, wrong)
    assert done.figures["accuracy"] == pytest.approx(1 / 3)
    write_evaluation(tmp_path / "report", done)
    page = page_of(tmp_path / "report")
    assert "script" not in page.tags
    assert HOSTILE in page.text, "it is shown as the text that it is"


def test_masks_beside_images(mask_bundle: Path, tmp_path: Path) -> None:
    raws = pictures(3)
    done = run(mask_bundle, write_masks(tmp_path / "right", mask_bundle, raws))
    assert (done.figures["miou"], done.figures["pixel_accuracy"]) == (1.0, 1.0)
    half = write_masks(tmp_path / "half", mask_bundle, raws, lambda mask_HW: np.where(np.arange(16) < 8, mask_HW, 255))
    assert run(mask_bundle, half).figures["pixel_accuracy"] == 1.0, "what nobody knows is left out"
    (half / "masks" / "0.png").unlink()
    cv2.imwrite(str(half / "masks" / "1.png"), np.full((12, 16), 7, np.uint8))
    done = run(mask_bundle, half)
    assert done.rows.left_out == {"no label": 1, "unknown label": 1}
    assert done.rows.unknown == {"value 7": 1}
    cv2.imwrite(str(half / "masks" / "1.png"), np.zeros((5, 5), np.uint8))
    assert "5 x 5 pixels, the picture 16 x 12" in run(mask_bundle, half).rows.first["unreadable label"]


def test_classes_have_the_names_of_classes_csv(mask_bundle: Path, tmp_path: Path) -> None:
    raws = pictures(3)
    folder = write_masks(tmp_path, mask_bundle, raws, lambda mask_HW: 10 + mask_HW)
    with pytest.raises(DataError, match="none of 3 rows can be judged: 3 unknown label"):
        run(mask_bundle, folder)
    names = [[10 + i, label] for i, label in enumerate(LABELS)]
    write_csv(folder / "classes.csv", ["id", "name"], names)
    assert run(mask_bundle, folder).figures["miou"] == 1.0


def test_masks_in_a_table(mask_bundle: Path, tmp_path: Path) -> None:
    write_masks(tmp_path, mask_bundle, pictures(3))
    rows = [[f"images/{i}.png", f"masks/{i}.png"] for i in range(3)] + [["images/0.png", ""]]
    done = run(mask_bundle, write_csv(tmp_path / "data.csv", ["image", "mask"], rows))
    assert done.figures["miou"] == 1.0
    assert done.rows.left_out.total() == 1


@pytest.fixture(scope="module")
def box_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example_bundle(tmp_path_factory.mktemp("models"), "object-detection")


def test_boxes_in_cocos_json(box_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="COCO's own code makes the figures")
    boxes = [[("cat", (1, 1, 9, 9)), ("horse", (0, 0, 4, 4))], [], [("owl", (2, 2, 40, 40))]]
    data = write_coco(tmp_path / "data", pictures(3), boxes)
    done = run(box_bundle, data)
    assert done.rows.judged == 3
    assert (done.rows.boxes_left_out, done.rows.unknown) == (1, {"horse": 1})
    assert list(done.figures)[:2] == ["map", "map50"]
    assert {"ap50_cat", "ap50_owl"} <= set(done.figures)
    assert done.never_seen() == ["dog"]
    assert done.tables[0].rows[2][4] == 1
    assert run(box_bundle, data / "test.json").rows.judged == 3
    (data / "images" / "1.png").unlink()
    with pytest.raises(DataError, match=r"no picture '1.png'; looked in"):
        run(box_bundle, data)


def test_boxes_in_a_table(box_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="COCO's own code makes the figures")
    (tmp_path / "0.png").write_bytes(pictures(1)[0])
    cells = [json.dumps([{"label": "cat", "box_xyxy": [1, 1, 9, 9]}]), "[]", "", "{", '[{"label": "cat"}]']
    rows = [["0.png", cell] for cell in cells]
    done = run(box_bundle, write_csv(tmp_path / "data.csv", ["image", "boxes"], rows))
    assert (done.rows.judged, done.rows.left_out) == (2, {"no label": 1, "unreadable label": 2})
    turned = [["0.png", json.dumps([{"label": "cat", "box_xyxy": [9, 9, 1, 1]}])]]
    with pytest.raises(DataError, match="left, top, right, bottom are expected"):
        run(box_bundle, write_csv(tmp_path / "turned.csv", ["image", "boxes"], turned))


@pytest.fixture(scope="module")
def map_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example_bundle(tmp_path_factory.mktemp("models"), "anomaly-detection")


def test_good_ones_beside_defects_with_masks(map_bundle: Path, tmp_path: Path) -> None:
    raws = pictures(8)
    kinds = ["good", "hole"] * 4
    write_folders(tmp_path / "test", kinds, raws)
    done = run(map_bundle, tmp_path)
    assert done.rows.judged == 8
    assert "pixel_auroc" not in done.figures
    mask = np.zeros((12, 16), np.uint8)
    mask[3:6] = 255
    for i, kind in enumerate(kinds):
        if kind == "hole":
            (tmp_path / "ground_truth" / "hole").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "ground_truth" / "hole" / f"{i:03}_mask.png"), mask)
    done = run(map_bundle, tmp_path)
    assert {"auroc", "auroc_hole", "pixel_auroc", "pixel_auroc_hole"} <= set(done.figures)
    cv2.imwrite(str(tmp_path / "ground_truth" / "hole" / "001_mask.png"), mask[:5])
    assert run(map_bundle, tmp_path).rows.left_out == {"unreadable label": 1}


@pytest.mark.parametrize(("normal", "odd"), [("0", "1"), ("normal", "arrhythmia"), ("False", "True")])
def test_series_with_labels(normal: str, odd: str, series_bundle: Path, tmp_path: Path) -> None:
    rows = [[raw.decode(), label] for raw, label in zip(KINDS["series"].raws, [odd, normal, odd, odd], strict=True)]
    done = run(series_bundle, write_csv(tmp_path / "data.csv", ["series", "label"], rows))
    assert done.figures["auroc"] == 0.5, "this model gives every series the same score, over the threshold"
    assert done.figures["accuracy"] == done.figures["precision"] == 0.75
    kind = odd if odd == "arrhythmia" else "anomalous"
    assert [row[0] for row in done.tables[1].rows] == sorted(["normal", kind])


def test_of_normal_ones_alone_the_area_is_left_out(series_bundle: Path, tmp_path: Path) -> None:
    rows = [[raw.decode(), "normal"] for raw in KINDS["series"].raws]
    done = run(series_bundle, write_csv(tmp_path / "data.csv", ["series", "label"], rows))
    assert "auroc" not in done.figures
    assert "accuracy" in done.figures


def test_an_embedding_has_no_label(tmp_path: Path) -> None:
    bundle = write_example_bundle(tmp_path / "models", "sentence-embedding")
    table = write_csv(tmp_path / "data.csv", ["text", "label"], [["a", "b"]])
    with pytest.raises(BadInput, match="whose answers no label can be held to"):
        run(bundle, table)


def test_a_limit_is_kept(picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", right, raws)
    assert run(picture_bundle, data, limit=5).rows.read == 5
    with pytest.raises(BadInput, match="at least 1"):
        run(picture_bundle, data, limit=0)


def test_only_the_worst_are_kept(picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", [other(label) for label in right], raws)
    every, few = run(picture_bundle, data, worst=99).worst, run(picture_bundle, data, worst=4).worst
    assert len(every) == 12
    assert [wrong for wrong, _ in few] == [wrong for wrong, _ in every[:4]]


def test_a_label_is_never_more_than_a_text(raws: list[bytes], tmp_path: Path) -> None:
    labels = (HOSTILE, '" onmouseover="alert(1)', "{{ 7 * 7 }}")
    bundle = write_fake_bundle(tmp_path / "models", labels=labels)
    rows: list[list[str]] = []
    for i, raw in enumerate(raws):
        (tmp_path / f"{i}.png").write_bytes(raw)
        rows.append([f"{i}.png", labels[i % 3]])
    rows += [["0.png", "</td><img src=x onerror=alert(1)>"]]
    done = run(bundle, write_csv(tmp_path / "data.csv", ["image", "label"], rows))
    write_evaluation(tmp_path / "report", done)
    page = page_of(tmp_path / "report")
    assert "script" not in page.tags
    assert all(source.startswith("data:image/") for source in page.sources), "nothing is fetched from anywhere"
    assert "img" in page.tags
    for text in (HOSTILE, '" onmouseover="alert(1)', "{{ 7 * 7 }}", "</td><img src=x onerror=alert(1)>"):
        assert text in page.text
    assert "default-src 'none'" in (tmp_path / "report" / REPORT_FILE).read_text(encoding="utf-8")


def test_the_report_and_its_figures(picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path) -> None:
    labels = [other(label) if i < 3 else label for i, label in enumerate(right)]
    data = write_folders(tmp_path / "data", labels, raws)
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", "evaluate", picture_bundle, data, "--report", tmp_path / "out"],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out" / REPORT_FILE)
    assert "(evidence said 1.0000 on its test split)" in done.stdout
    document = json.loads((tmp_path / "out" / METRICS_FILE).read_bytes())
    assert document["figures"] == {"accuracy": 0.75}
    assert document["compared_with_evidence"]["evidence"] == 1.0
    assert document["rows"]["judged"] == 12
    assert len(document["worst"]) == 3
    page = page_of(tmp_path / "out")
    assert page.tags.count("img") == 3
    assert "0.7500" in page.text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [METRICS_FILE, REPORT_FILE]


def test_a_report_that_cannot_be_written_says_so(
    picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path
) -> None:
    done = run(picture_bundle, write_folders(tmp_path / "data", right, raws))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="the report cannot be written"):
        write_evaluation(tmp_path / "file", done)


@pytest.mark.parametrize(
    "task", ["image-segmentation", "anomaly-detection", "object-detection", "series-anomaly-detection"]
)
def test_reports_of_every_task_show_their_worst(task: str, tmp_path: Path) -> None:
    if task == "object-detection":
        pytest.importorskip("pycocotools", reason="COCO's own code makes the figures")
    bundle = write_example_bundle(tmp_path / "models", task)
    raws = pictures(4)
    match task:
        case "image-segmentation":
            data = write_masks(tmp_path / "data", bundle, raws, lambda mask_HW: (mask_HW + 1) % 3)
        case "anomaly-detection":
            data = write_folders(tmp_path / "data", ["good", "hole", "hole", "good"], raws)
        case "object-detection":
            data = write_coco(tmp_path / "data", raws, [[("cat", (1, 1, 9, 9))]] * 4)
        case _:
            series = KINDS["series"].raws
            data = write_csv(tmp_path / "d.csv", ["series", "label"], [[raw.decode(), "normal"] for raw in series])
    done = run(bundle, data)
    assert done.worst
    write_evaluation(tmp_path / "out", done)
    page = page_of(tmp_path / "out")
    assert ("svg" if task == "series-anomaly-detection" else "img") in page.tags
    assert "cannot be shown" not in page.text


def test_an_input_that_is_gone_by_the_end_is_said(
    picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path
) -> None:
    data = write_folders(tmp_path / "data", [other(label) for label in right], raws)
    done = run(picture_bundle, data)
    for path in data.rglob("*.png"):
        path.unlink()
    write_evaluation(tmp_path / "out", done)
    assert "cannot be shown" in page_of(tmp_path / "out").text


BLOCKED = ("torch", "lightning", "torchmetrics", "kornia", "onnx", "onnxscript", "sklearn", "matplotlib", "pycocotools")
ALONE = f"""
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError("not here", name=name)

sys.meta_path.insert(0, Nowhere())
import modelyard
modelyard.main(sys.argv[1:])
"""


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def test_neither_command_needs_torch(picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", right, raws)
    done = alone("evaluate", picture_bundle, data, "--report", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    done = alone("compare", picture_bundle, picture_bundle, data, "--report", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_without_cocos_code_boxes_are_not_even_read(box_bundle: Path, tmp_path: Path) -> None:
    done = alone("evaluate", box_bundle, write_coco(tmp_path, pictures(1), [[("cat", (1, 1, 9, 9))]]))
    assert done.returncode == 1
    assert "average precision needs pycocotools" in done.stderr
    assert "pip install 'modelyard[evaluation]'" in done.stderr


def test_names_of_files_and_labels_may_be_anything(
    picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path
) -> None:
    data = write_folders(tmp_path / "data", right, raws)
    for label in (other(right[0]), "\x1b[2J\u202e"):
        (data / label).mkdir(exist_ok=True)
        (data / label / "\x1b[31m.png").write_bytes(raws[0])
    (data / right[0] / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(raws[0])
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", "evaluate", picture_bundle, data, "--report", out],
        capture_output=True, text=True, check=False, env=environment({"PYTHONIOENCODING": "utf-8"}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert r"\x1b[2J\u202e" in done.stderr
    rows = json.loads((out / METRICS_FILE).read_bytes())["rows"]
    assert (rows["judged"], rows["left_out"]) == (13, {"unknown label": 1, "BadInput": 1})


def test_a_data_set_as_the_hub_has_them(
    picture_bundle: Path, raws: list[bytes], right: list[str], tmp_path: Path
) -> None:
    images = [{"bytes": raw, "path": None} for raw in raws]
    labels = [LABELS.index(label) for label in right]
    table = pa.table({
        "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "label": pa.array(labels, pa.int64()),
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "data.parquet")
    assert run(picture_bundle, tmp_path / "data.parquet").figures == {"accuracy": 1.0}


def test_masks_in_the_table_itself(mask_bundle: Path, tmp_path: Path) -> None:
    raws = pictures(3)
    folder = write_masks(tmp_path / "files", mask_bundle, raws)
    masks = [(folder / "masks" / f"{i}.png").read_bytes() for i in range(3)]
    parquet.write_table(pa.table({"image": raws, "mask": masks}), tmp_path / "data.parquet")
    assert run(mask_bundle, tmp_path / "data.parquet").figures["miou"] == 1.0
