"""Segmentation: a class for every pixel of the picture as it came.

Knows labels, masks and margins. Knows nothing of how they were made.
"""

from typing import Annotated, ClassVar, Literal

import cv2
import msgspec
import numpy as np
from pydantic import Field

from bundle.errors import BundleError
from bundle.preprocess import ImageResize, ImageSource
from bundle.rle import Rle, read_rle, write_rle
from bundle.shares import Counts, shares, sums
from bundle.spec import Spec
from bundle.tensors import Array, Tensors, TensorSpec, max_abs_error

VOID = 255
"""In a mask of the truth: nobody said what this pixel shows. Never in an answer."""
MAX_SMOOTH_PX = 2_000_000  # beyond, the mask is enlarged smoothly to this size and by whole pixels from there
MIN_VOTE = 16  # of 255; a pixel of no margin at all still has a vote
MAX_PIXELS_DIFFER = 0.03  # int8 of the two recipes, 2026-11: 0.4 % and 0.1 % on average, 1.1 % at most
MIN_CLASS_SHARE, MIN_CLASS_OVERLAP = 0.02, 0.75  # an area of 2 % that int8 moved by a pixel: 0.90 at least


class SegmentationDecode(Spec):
    """What the mask means: label i is class i."""

    kind: Literal["segmentation"] = "segmentation"
    labels: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=2, max_length=VOID)


class SegmentationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller may choose for one request."""

    mask: Annotated[
        Literal["png", "rle"], msgspec.Meta(description="one mask of all classes as PNG, or COCO RLE a class")
    ] = "png"
    format: Annotated[
        Literal["json", "png"], msgspec.Meta(description="json, or the picture with the mask drawn on it")
    ] = "json"


class ClassArea(msgspec.Struct, frozen=True, omit_defaults=True):
    """One class that is in the picture: its value in the mask, its label, and its share of all pixels."""

    index: int
    label: str
    share: float
    rle: Rle | None = None
    """Its own mask, with `?mask=rle`."""


class Segmentation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The class of every pixel of the picture, in the picture's own resolution, upright."""

    height_px: int
    width_px: int
    classes: tuple[ClassArea, ...]
    """Those that are in the picture, in falling order of their share."""
    mask_png: bytes | None = None
    """8-bit grey PNG (base64 in JSON) whose values are class indices; without `?mask=rle`."""


class SegmentationTask:
    """Masks -> areas.

    The graph gives `mask`: uint8 [batch, height, width], the class of the best score a pixel; and `margin`: float32
    [batch, height, width], by how much that score (softmax, 0 to 1) is ahead of the next one.
    """

    decode_type: ClassVar[type] = SegmentationDecode
    options_type = SegmentationOptions
    result_type = Segmentation

    def __init__(self, parameters: SegmentationDecode) -> None:
        self._labels = parameters.labels

    def output_specs(self, preprocess: ImageResize) -> tuple[TensorSpec, ...]:
        """`mask` and `margin`, of the size of the prepared picture."""
        shape = ("batch", preprocess.height_px, preprocess.width_px)
        return (
            TensorSpec(name="mask", dtype="uint8", shape=shape),
            TensorSpec(name="margin", dtype="float32", shape=shape),
        )

    def golden_options(self) -> SegmentationOptions:
        """The whole mask."""
        return SegmentationOptions(mask="png")

    def decode(self, outputs: Tensors, source: ImageSource, options: SegmentationOptions) -> Segmentation:
        """The mask in the source's resolution, and what is in it; equal shares keep the order of the labels."""
        mask_HW = enlarge_mask(outputs["mask"], outputs["margin"], source.height_px, source.width_px)
        counts = np.bincount(mask_HW.ravel(), minlength=len(self._labels))
        order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        wants_rle = options.mask == "rle"
        classes = tuple(
            ClassArea(i, self._label(i), int(counts[i]) / mask_HW.size, write_rle(mask_HW == i) if wants_rle else None)
            for i in order
        )
        return Segmentation(source.height_px, source.width_px, classes, None if wants_rle else _write_png(mask_HW))

    def _label(self, index: int) -> str:
        if index >= len(self._labels):
            raise BundleError(f"the mask holds class {index}, and the bundle has {len(self._labels)} labels")
        return self._labels[index]

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        """Mean error of a score, over all pixels; see `docs/tasks/segmentation.md`.

        margin: the mean absolute error. mask: a pixel of another class proves an error of at least half its expected
        margin in one of two scores (the leader fell, the other rose), a pixel of the same class proves none; the mean
        of that. So a flip where two classes are level costs nothing, one that is sure costs half a pixel.
        """
        if any(expected[name].shape != got[name].shape for name in ("mask", "margin")):
            return {"mask": float("inf"), "margin": float("inf")}
        flipped_HW = expected["mask"] != got["mask"]
        proven = float(np.mean(np.where(flipped_HW, expected["margin"] / 2, 0.0), dtype=np.float64))
        error = np.mean(np.abs(expected["margin"].astype(np.float64) - got["margin"]))
        worst = max_abs_error(expected["margin"], got["margin"])  # infinite where a value is not finite
        return {"mask": proven, "margin": float(error) if np.isfinite(worst) else worst}

    def agree(self, expected: Segmentation, got: Segmentation, atol: float) -> str | None:
        """The same to somebody who looks: nearly all pixels are, and so is the most of every larger class.

        Answers hold no scores, so ties cannot be told from errors here: they are in the pixels that may differ.
        """
        known = {area.index: area.label for area in expected.classes}
        for area in got.classes:
            if known.get(area.index, area.label) != area.label:
                return (
                    f"class {area.index} is '{area.label}'; it was '{known[area.index]}' when the answer was recorded"
                )
        want_HW, have_HW = class_mask(expected), class_mask(got)
        if want_HW.shape != have_HW.shape:
            return f"the mask is {_size(got)} pixels, expected {_size(expected)}"
        differing = float(np.mean(want_HW != have_HW))
        if differing > MAX_PIXELS_DIFFER:
            return f"{differing:.2%} of the pixels differ; at most {MAX_PIXELS_DIFFER:.0%} may"
        for area in expected.classes:
            overlap = _overlap(want_HW == area.index, have_HW == area.index)
            if area.share >= MIN_CLASS_SHARE and overlap < MIN_CLASS_OVERLAP:
                return f"'{area.label}' covers {area.share:.1%}, and the answers' areas of it overlap by {overlap:.2f}"
        return None

    def summarise(self, results: list[Segmentation]) -> dict[str, list[float]]:
        """`class_share`: the mean share of each class, in the order of the labels."""
        return shares(sums(map(self.count, results)))

    def count(self, result: Segmentation) -> Counts:
        """The share of each class: a picture counts as one, whatever its size."""
        class_share = np.zeros(len(self._labels))
        for area in result.classes:
            class_share[area.index] = area.share
        return {"class_share": class_share}


def class_mask(result: Segmentation) -> Array:
    """The class of every pixel, uint8 [height, width], from either form of an answer."""
    if result.mask_png is not None:
        return read_mask_png(result.mask_png)
    mask_HW = np.zeros((result.height_px, result.width_px), np.uint8)
    for area in result.classes:
        if area.rle is not None:
            mask_HW[read_rle(area.rle)] = area.index
    return mask_HW


def enlarge_mask(mask_HW: Array, margin_HW: Array, height_px: int, width_px: int) -> Array:
    """A mask in another size: uint8 [height_px, width_px].

    Every class votes with its margins, interpolated between pixels, and the strongest wins: edges run where two
    classes would be level instead of along whole pixels. In 8-bit arithmetic that is exact on every machine.
    """
    if mask_HW.shape == (height_px, width_px):
        return mask_HW.copy()
    shrink = min(1.0, (MAX_SMOOTH_PX / (height_px * width_px)) ** 0.5)
    size = (max(1, round(width_px * shrink)), max(1, round(height_px * shrink)))
    votes_HW = np.rint(MIN_VOTE + (255 - MIN_VOTE) * np.clip(margin_HW, 0, 1)).astype(np.uint8)
    chosen_HW = np.zeros(size[::-1], np.uint8)
    strongest_HW = np.zeros(size[::-1], np.uint8)
    for index in np.unique(mask_HW):
        votes = cv2.resize(np.where(mask_HW == index, votes_HW, 0), size, interpolation=cv2.INTER_LINEAR_EXACT)
        chosen_HW[votes > strongest_HW] = index
        np.maximum(strongest_HW, votes, out=strongest_HW)
    if size == (width_px, height_px):
        return chosen_HW
    return cv2.resize(chosen_HW, (width_px, height_px), interpolation=cv2.INTER_NEAREST_EXACT)


def read_mask_png(png: bytes) -> Array:
    """The mask of an answer, uint8 [height, width].

    Raises:
        BundleError: not an 8-bit grey PNG.
    """
    mask_HW = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if mask_HW is None or mask_HW.ndim != 2 or mask_HW.dtype != np.uint8:
        raise BundleError(f"a mask of {len(png)} bytes is not an 8-bit grey PNG")
    return mask_HW


def _write_png(mask_HW: Array) -> bytes:
    _, png = cv2.imencode(".png", mask_HW)
    return png.tobytes()


def _size(result: Segmentation) -> str:
    return f"{result.width_px} x {result.height_px}"


def _overlap(one_HW: Array, other_HW: Array) -> float:
    """Intersection over union."""
    union = int(np.count_nonzero(one_HW | other_HW))
    return int(np.count_nonzero(one_HW & other_HW)) / max(union, 1)
