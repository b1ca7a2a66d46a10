"""Inputs, truths and answers as small panels for a report: pictures drawn over, texts cut short, series as lines.

Every panel is data; nothing here is HTML. Knows preprocessing kinds, tasks and drawing. Knows nothing of reports.
"""

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import msgspec
import numpy as np

from bundle.boxes import Boxes
from bundle.heatmap import decode_map, draw_anomaly
from bundle.manifest import Manifest
from bundle.metrics.anomaly import Marked
from bundle.metrics.detection import boxes_of
from bundle.overlays import colours, draw_boxes, draw_mask, label_colours
from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tasks.segmentation import VOID, class_mask
from bundle.tensors import Array

SIDE_PX = 320
"""Longer side of a picture in a report, at most; smaller ones are enlarged by whole pixels."""
JPEG_QUALITY = 84
MAX_CHARS = 600
MAX_POINTS = 400
CHART_PX = (320, 90)
PICTURES = "image-resize"


class Panel(msgspec.Struct, frozen=True):
    """One of: a picture (a data: URI), a text, or lines of a chart (points of SVG polylines)."""

    caption: str
    picture: str = ""
    text: str = ""
    lines: tuple[str, ...] = ()


class Artist:
    """Draws inputs of one bundle."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._labels: tuple[str, ...] = getattr(manifest.decode, "labels", ())

    def legend(self) -> list[tuple[str, str]]:
        """Labels with the colours of their areas or boxes, as CSS writes them; none where nothing is coloured."""
        if self._manifest.task == "image-segmentation":
            palette = dict(zip(self._labels, colours(len(self._labels)), strict=True))
        elif self._manifest.task == "object-detection":
            palette = label_colours(self._labels)
        else:
            return []
        return [(label, "#{:02x}{:02x}{:02x}".format(*colour)) for label, colour in palette.items()]

    def input(self, raw: bytes) -> Panel:
        """The input as it came."""
        if self._manifest.preprocess.kind == PICTURES:
            return Panel("input", picture=_uri(_small(_read(raw))))
        if self._manifest.preprocess.kind == "series":
            return Panel("input", lines=(_line(_numbers(raw)),))
        text = raw.decode("utf-8", "replace")
        return Panel("input", text=text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} ...")

    def answer(self, raw: bytes, answer: Any, caption: str) -> Panel | None:
        """An answer drawn on its input; None where a line of text says it all."""
        match self._manifest.task:
            case "image-segmentation":
                return self._mask(raw, class_mask(answer), caption)
            case "object-detection":
                found = boxes_of(answer, self._labels)
                shown = found.take(found.scores >= getattr(self._manifest.decode, "default_score_threshold", 0.0))
                return self._boxes(raw, shown, caption, with_scores=True)
            case "anomaly-detection":
                anomaly_map = answer.anomaly_map
                return self._map(raw, decode_map(anomaly_map.b64), anomaly_map.threshold, caption)
            case "series-anomaly-detection":
                return Panel(f"{caption}: error a step", lines=(_line(np.array(answer.errors), 0.0, 1.0),))
        return None

    def truth(self, raw: bytes, truth: Any, caption: str) -> Panel | None:
        """A truth drawn on its input; None where a line of text says it all."""
        match self._manifest.task:
            case "image-segmentation":
                return self._mask(raw, np.where(truth == VOID, -1, truth.astype(np.int64)), caption)
            case "object-detection":
                rows = np.array(truth, np.float64).reshape(-1, 5)
                boxes = Boxes(rows[:, 1:], rows[:, 0].astype(np.int64), np.ones(len(rows)))
                return self._boxes(raw, boxes, caption, with_scores=False)
            case "anomaly-detection":
                marked: Marked = truth
                if marked.mask is not None:
                    return self._map(raw, marked.mask.astype(np.float32), 0.5, caption)
        return None

    def _mask(self, raw: bytes, mask_HW: Array, caption: str) -> Panel:
        small_HWC = _small(_read(raw))
        size = (small_HWC.shape[1], small_HWC.shape[0])
        resized_HW = cv2.resize(mask_HW.astype(np.int16), size, interpolation=cv2.INTER_NEAREST)
        return Panel(caption, picture=_uri(draw_mask(small_HWC, resized_HW, colours(len(self._labels)))))

    def _boxes(self, raw: bytes, boxes: Boxes, caption: str, with_scores: bool) -> Panel:
        image_HWC = _read(raw)
        small_HWC = _small(image_HWC)
        scale = np.array([small_HWC.shape[1] / image_HWC.shape[1], small_HWC.shape[0] / image_HWC.shape[0]] * 2)
        names = [self._labels[i] for i in boxes.labels]
        scores = boxes.scores.tolist() if with_scores else None
        drawn = draw_boxes(small_HWC, boxes.boxes_xyxy * scale, names, scores, label_colours(self._labels))
        return Panel(caption, picture=_uri(drawn))

    def _map(self, raw: bytes, map_HW: Array, threshold: float, caption: str) -> Panel:
        small_HWC = _small(_read(raw))
        size = (small_HWC.shape[1], small_HWC.shape[0])
        resized_HW = cv2.resize(map_HW.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        return Panel(caption, picture=_uri(draw_anomaly(small_HWC, resized_HW, threshold)))


def told(manifest: Manifest, answer: Any) -> str:
    """An answer in a line."""
    match manifest.task:
        case "image-classification" | "text-classification":
            return f"{answer.label} ({answer.score:.3f})"
        case "image-segmentation":
            return ", ".join(f"{area.label} {area.share:.0%}" for area in answer.classes[:6])
        case "object-detection":
            threshold = getattr(manifest.decode, "default_score_threshold", 0.0)
            shown = [found.label for found in answer.detections if found.score >= threshold]
            return counted(shown)
        case "anomaly-detection" | "series-anomaly-detection":
            verdict = "anomalous" if answer.is_anomalous else "normal"
            return f"{verdict} (score {answer.anomaly_score:.3f}, threshold {answer.threshold:.3f})"
    return f"a vector, from {answer.num_tokens} tokens"


def truth_told(manifest: Manifest, truth: Any) -> str:
    """A truth in a line."""
    labels: tuple[str, ...] = getattr(manifest.decode, "labels", ())
    match manifest.task:
        case "image-segmentation":
            counts = np.bincount(truth.ravel(), minlength=256)[: len(labels)]
            order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
            return ", ".join(f"{labels[i]} {counts[i] / truth.size:.0%}" for i in order[:6])
        case "object-detection":
            return counted([labels[box[0]] for box in truth])
        case "anomaly-detection":
            return str(truth.kind)
        case "series-anomaly-detection":
            return str(truth)
    return str(labels[truth])


def counted(names: Sequence[str]) -> str:
    """Names with how many there are of each."""
    return ", ".join(f"{name} x {names.count(name)}" for name in dict.fromkeys(names)) or "nothing"


def _read(raw: bytes) -> Array:
    image_HWC: Array = read_image(raw, Limits())
    return image_HWC


def _small(image_HWC: Array) -> Array:
    """Of a size for a report."""
    longest = max(image_HWC.shape[:2])
    factor = SIDE_PX / longest if longest > SIDE_PX else max(1, SIDE_PX // longest)
    if factor == 1:
        return image_HWC.copy()
    size = (max(1, round(image_HWC.shape[1] * factor)), max(1, round(image_HWC.shape[0] * factor)))
    resized: Array = cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
    return resized


def _uri(image_HWC: Array) -> str:
    """Whichever is smaller of PNG and JPEG."""
    bgr = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR)
    _, png = cv2.imencode(".png", bgr)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    kind, content = ("png", png) if png.size <= jpeg.size else ("jpeg", jpeg)
    return f"data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode('ascii')}"


def _numbers(raw: bytes) -> Array:
    """The values of a series that a model has read."""
    return np.array(raw.decode("utf-8-sig").strip("[] \t\r\n").replace(",", " ").split(), np.float64)


def _line(values: Array, low: float | None = None, high: float | None = None) -> str:
    """Points of a polyline in a chart; of many values every n-th."""
    values = values[:: max(1, -(-len(values) // MAX_POINTS))]
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    width, height = CHART_PX
    xs = np.linspace(2, width - 2, len(values))
    ys = height - 4 - (np.clip(values, low, high) - low) / max(high - low, 1e-12) * (height - 8)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
