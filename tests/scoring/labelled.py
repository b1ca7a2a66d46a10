"""Labelled data for tests, labelled by the models themselves: so what is right is known."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bundle.store import open_bundle
from bundle.tasks.segmentation import class_mask
from runtime.predictor import load_predictor
from tests.builders import png

HOSTILE = "<script>alert(1)</script>"


def answers(bundle: Path, raws: Sequence[bytes]) -> list[Any]:
    """What the model says, in full."""
    predictor = load_predictor(open_bundle(bundle))
    return predictor.predict(raws, predictor.task.golden_options())


def pictures(number: int) -> list[bytes]:
    return [png(seed=i) for i in range(number)]


def write_folders(folder: Path, labels: Sequence[str], raws: Sequence[bytes]) -> Path:
    """FOLDER/<label>/<picture>."""
    for i, (label, raw) in enumerate(zip(labels, raws, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{i:03}.png").write_bytes(raw)
    return folder


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def write_masks(
    folder: Path, bundle: Path, raws: Sequence[bytes], change: Callable[[Any], Any] = lambda mask_HW: mask_HW
) -> Path:
    """images/ beside masks/, which are the model's own, changed."""
    for i, (raw, answer) in enumerate(zip(raws, answers(bundle, raws), strict=True)):
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{i}.png").write_bytes(raw)
        cv2.imwrite(str(folder / "masks" / f"{i}.png"), change(class_mask(answer)).astype(np.uint8))
    return folder


def write_coco(folder: Path, raws: Sequence[bytes], boxes: Sequence[Sequence[tuple[str, Sequence[float]]]]) -> Path:
    """test.json beside images/."""
    names = sorted({label for one in boxes for label, _ in one})
    (folder / "images").mkdir(parents=True, exist_ok=True)
    annotations = []
    for i, (raw, found) in enumerate(zip(raws, boxes, strict=True)):
        (folder / "images" / f"{i}.png").write_bytes(raw)
        for label, (x0, y0, x1, y1) in found:
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({"image_id": i, "category_id": names.index(label), "bbox": box})
    document = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(len(raws))],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
    }
    (folder / "test.json").write_text(json.dumps(document), encoding="utf-8")
    return folder
