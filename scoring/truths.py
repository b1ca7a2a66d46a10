"""Values that people call labels -> truths in a task's own form, or why there is none.

Knows labels, kinds, masks and boxes. Knows nothing of where a value stands.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import cv2
import msgspec
import numpy as np

from bundle.errors import BadInput, DataError
from bundle.manifest import Manifest
from bundle.masks import VOID_NAMES, read_ids
from bundle.metrics.anomaly import GOOD, Marked
from bundle.metrics.detection import Box
from bundle.preprocess import ImageSource, Limits
from bundle.preprocess.image import read_header, upright_source
from bundle.tasks.segmentation import VOID
from bundle.tensors import Array

NORMAL_NAMES = ("good", "normal", "ok", "0", "false", "no", "none")
"""What people call a sample without an anomaly."""
ANOMALOUS_NAMES = ("1", "true", "yes")
ANOMALOUS = "anomalous"
"""The kind of an anomaly that is only said to be one."""
NORMAL = "normal"
DEFECT_LEVEL = 128
"""A pixel of a mask of a defect belongs to it from this grey value on."""


class Truth(msgspec.Struct, frozen=True):
    """What a metric takes."""

    value: Any
    left_out: tuple[str, ...] = ()
    """Labels of boxes that the model does not know, one a box."""


class NoTruth(msgspec.Struct, frozen=True):
    """Why a row cannot be judged."""

    cause: Literal["no label", "unknown label", "unreadable label"]
    told: str = ""
    """The label, or what is wrong with it."""


Read = Callable[[], bytes]
"""Fetches a mask."""
ToTruth = Callable[[bytes], Truth | NoTruth]
"""The raw input -> its truth."""


class Label(msgspec.Struct, frozen=True):
    """The object of an answer's form: what a box of the truth needs."""

    label: str
    box_xyxy: tuple[float, float, float, float]


def plain(value: Any) -> str:
    """A cell as text: 3.0 is 3, True is true, nothing is an empty text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (str(value).lower() if isinstance(value, bool) else str(value)).strip()


class LabelIndex:
    """A label's name, or its number -> its index. Where any name is a number itself, only names count."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._index = {label: i for i, label in enumerate(labels)}
        if not any(label.strip().isdecimal() for label in labels):
            self._index |= {str(i): i for i in range(len(labels))}

    def __call__(self, value: Any) -> Truth | NoTruth:
        """The index."""
        name = plain(value)
        if not name:
            return NoTruth("no label")
        return Truth(self._index[name]) if name in self._index else NoTruth("unknown label", name)


def kind_of(value: Any, normal: str) -> str:
    """What kind of anomaly a value names, by `normal` where it is none; empty where nobody said."""
    name = plain(value)
    if name.casefold() in NORMAL_NAMES:
        return normal
    return ANOMALOUS if name.casefold() in ANOMALOUS_NAMES else name


def series_truth(value: Any) -> Truth | NoTruth:
    """The kind of a series."""
    kind = kind_of(value, NORMAL)
    return Truth(kind) if kind else NoTruth("no label")


def marked_truth(value: Any, mask: Read | None, raw: bytes) -> Truth | NoTruth:
    """The kind of a picture, with the defect's mask where there is one."""
    kind = kind_of(value, GOOD)
    if not kind:
        return NoTruth("no label")
    if kind == GOOD or mask is None:
        return Truth(Marked(kind))
    try:
        grey_HW = cv2.imdecode(np.frombuffer(mask(), np.uint8), cv2.IMREAD_GRAYSCALE)
    except (BadInput, cv2.error) as cause:
        return NoTruth("unreadable label", str(cause))
    size = picture_size(raw)
    if grey_HW is None or size is None or grey_HW.shape != (size.height_px, size.width_px):
        found = "no picture" if grey_HW is None else f"{grey_HW.shape[1]} x {grey_HW.shape[0]} pixels"
        return NoTruth("unreadable label", f"the mask of its defect is {found}; expected one of the picture's size")
    return Truth(Marked(kind, grey_HW >= DEFECT_LEVEL))


def class_of_id(labels: Sequence[str], names: dict[int, str] | None) -> tuple[Array, dict[int, str]]:
    """Which class of the model a value of a mask means, int [256]: -1 where it is none; and names of the values.

    By the names of classes.csv, where there is one. Without it, by number: labels that are all numbers are ids, as
    training makes them of masks without names; else a value is the index of a label. 255 is void unless it has a name.
    """
    classes = np.full(256, -1, np.int64)
    classes[VOID] = VOID
    if names is None:
        ids = [int(label) if label.isdecimal() else None for label in labels]
        numbers = [one for one in ids if one is not None and one <= VOID]
        chosen = numbers if len(numbers) == len(labels) else range(len(labels))
        names = {number: labels[i] for i, number in enumerate(chosen)}
    index = {label: i for i, label in enumerate(labels)}
    for number, name in names.items():
        classes[number] = VOID if name.casefold() in VOID_NAMES else index.get(name, -1)
    return classes, names


def mask_truth(read: Read, classes: Array, names: dict[int, str], where: str) -> Truth | NoTruth:
    """The class of every pixel."""
    try:
        ids_HW = read_ids(read(), where)
    except (BadInput, DataError) as cause:
        return NoTruth("unreadable label", str(cause))
    mask_HW = classes[ids_HW]
    if (mask_HW < 0).any():
        strangers = sorted({int(one) for one in np.unique(ids_HW[mask_HW < 0])})
        return NoTruth("unknown label", ", ".join(names.get(one, f"value {one}") for one in strangers))
    return Truth(mask_HW.astype(np.uint8))


def listed_truth(value: Any, labels: Sequence[str], raw: bytes) -> Truth | NoTruth:
    """Boxes in a cell, in the form of an answer: [{"label": ..., "box_xyxy": [left, top, right, bottom]}]."""
    text = plain(value)
    if not text:
        return NoTruth("no label")
    try:
        listed = msgspec.json.decode(text, type=list[Label])
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        return NoTruth("unreadable label", f'{cause}; expected [{{"label": "...", "box_xyxy": [x0, y0, x1, y1]}}]')
    return boxes_truth([(one.label, one.box_xyxy) for one in listed], labels, raw)


def boxes_truth(
    boxes: Sequence[tuple[str, tuple[float, float, float, float]]], labels: Sequence[str], raw: bytes
) -> Truth | NoTruth:
    """Boxes with names, cut to their picture as in training; those of labels that the model does not know are told."""
    size = picture_size(raw)
    if size is None:
        return NoTruth("unreadable label", "the picture does not say how large it is")
    index = {label: i for i, label in enumerate(labels)}
    known: list[Box] = []
    for label, (x0, y0, x1, y1) in boxes:
        if x0 > x1 or y0 > y1 or not all(map(math.isfinite, (x0, y0, x1, y1))):
            told = f"the box {[x0, y0, x1, y1]} is none: left, top, right, bottom are expected"
            return NoTruth("unreadable label", told)
        left, top, right, bottom = (
            max(x0, 0.0),
            max(y0, 0.0),
            min(x1, float(size.width_px)),
            min(y1, float(size.height_px)),
        )
        if label in index and left < right and top < bottom:
            known.append((index[label], left, top, right, bottom))
    return Truth(tuple(known), tuple(label for label, _ in boxes if label not in index))


def picture_size(raw: bytes) -> ImageSource | None:
    """Height and width, upright; None of what is no picture."""
    try:
        return upright_source(read_header(raw, Limits()))
    except BadInput:
        return None


def seen_labels(manifest: Manifest, truth: Any) -> set[int]:
    """Indices of labels that a truth holds; none where a task has no labels."""
    match manifest.decode.kind:
        case "classification":
            return {truth}
        case "segmentation":
            return set(np.unique(truth).tolist()) - {VOID}
        case "detection":
            return {box[0] for box in truth}
    return set()
