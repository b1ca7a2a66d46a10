"""Answers drawn on pictures: class masks, boxes, heat maps; always on a copy, always RGB uint8.

Knows OpenCV and arrays. Knows nothing of tasks, models or HTTP.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import cache

import cv2
import numpy as np

from bundle.tensors import Array

RGB = tuple[int, int, int]

FILL_ALPHA = 0.55
MAX_HEAT_ALPHA = 0.65
NUM_BOX_COLOURS = 20
TEXT_HEIGHT_SHARE = 0.028  # of the longer side
MIN_TEXT_PX, MAX_TEXT_PX = 11, 40
WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)
_FONT = cv2.FontFace("sans")


@cache
def colours(count: int) -> tuple[RGB, ...]:
    """RGB colours that are easy to tell apart; the first ones stay the same however many are asked for.

    Each is the farthest, in CIE L*a*b*, from those before it, among colours that are neither pale, dark nor glaring.
    """
    steps = np.linspace(0, 255, 12).astype(np.uint8)
    grid_RGB = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(1, -1, 3)
    lab = cv2.cvtColor(grid_RGB.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    vivid = (lab[:, 0] > 42) & (lab[:, 0] < 86) & (chroma > 36) & (chroma < 88)
    rgb, lab = grid_RGB[0][vivid], lab[vivid]
    chosen = [int(np.argmin(np.abs(rgb.astype(int) - (30, 120, 230)).sum(axis=1)))]  # a blue to begin with
    distance = np.full(len(lab), np.inf)
    while len(chosen) < min(count, len(lab)):
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return tuple(_rgb(rgb[chosen[i % len(chosen)]]) for i in range(count))


def draw_mask(image_HWC: Array, mask_HW: Array, palette: Sequence[RGB]) -> Array:
    """Tint every pixel with the colour of its class, and outline the areas.

    `image_HWC` uint8 RGB; `mask_HW` integers of the same size; a class that `palette` has no colour for stays bare.
    """
    lookup = np.array([*palette, BLACK], np.uint8)
    known_HW = (mask_HW >= 0) & (mask_HW < len(palette))
    paint_HWC = lookup[np.where(known_HW, mask_HW, len(palette)).astype(np.intp)]
    tinted = cv2.addWeighted(image_HWC, 1 - FILL_ALPHA, paint_HWC, FILL_ALPHA, 0)
    drawn = np.where(known_HW[..., None], tinted, image_HWC)
    edge_HW = _edges(mask_HW) & known_HW
    drawn[edge_HW] = paint_HWC[edge_HW]
    return drawn


def draw_boxes(
    image_HWC: Array,
    boxes_xyxy: Array,
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    palette: Mapping[str, RGB] | None = None,
) -> Array:
    """Draw boxes [n, 4] in pixels, each with its label and, where given, its score (0 to 1) on a tab.

    Without a palette a label's colour follows from its name, so it is the same in every picture.
    """
    drawn = image_HWC.copy()
    palette = palette or label_colours(labels)
    text_px = text_height(drawn)
    line_px = max(1, round(text_px / 9))
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    for i in np.argsort(-_areas(boxes), kind="stable").tolist():  # small ones last, on top of large ones
        x0, y0, x1, y1 = np.rint(boxes[i]).astype(int).tolist()
        cv2.rectangle(drawn, (x0, y0), (max(x1 - 1, x0), max(y1 - 1, y0)), palette[labels[i]], line_px)
        caption = labels[i] if scores is None else f"{labels[i]} {scores[i]:.2f}"
        _draw_tab(drawn, caption, (x0, y0), palette[labels[i]], text_px)
    return drawn


def draw_map(image_HWC: Array, map_HW: Array) -> Array:
    """Lay a heat map over a picture: `map_HW` float 0 to 1, of any size; what is near 0 shows the bare picture."""
    height_px, width_px = image_HWC.shape[:2]
    resized = cv2.resize(map_HW.astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    heat_HW = np.clip(np.nan_to_num(resized), 0, 1)
    color_BGR = cv2.applyColorMap(np.rint(heat_HW * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    alpha = MAX_HEAT_ALPHA * np.sqrt(heat_HW)[..., None]
    mixed = image_HWC * (1 - alpha) + cv2.cvtColor(color_BGR, cv2.COLOR_BGR2RGB) * alpha
    return np.rint(mixed).astype(np.uint8)


def draw_legend(width_px: int, captions: Sequence[str], palette: Sequence[RGB], text_px: int) -> Array:
    """A strip of colour patches with their captions, broken into as many lines as the width needs."""
    gap = text_px // 2
    widths = [min(2 * text_px + gap + _text_width(caption, text_px), width_px - gap) for caption in captions]
    places: list[tuple[int, int]] = []
    x, row = gap, 0
    for width in widths:
        if x > gap and x + width > width_px:
            x, row = gap, row + 1
        places.append((x, row))
        x += width + gap
    line_px = round(text_px * 1.6)
    strip = np.full(((row + 1) * line_px + gap, width_px, 3), 255, np.uint8)
    for caption, colour, (x, row) in zip(captions, palette, places, strict=True):
        top = gap // 2 + row * line_px + (line_px - text_px) // 2
        cv2.rectangle(strip, (x, top), (x + round(1.5 * text_px), top + text_px - 1), colour, cv2.FILLED)
        _write(strip, caption, (x + 2 * text_px, top + text_px - text_px // 8), BLACK, text_px)
    return strip


def label_colours(labels: Sequence[str]) -> dict[str, RGB]:
    """A colour a label, found from its name; two names that fall on one colour part, in alphabetical order."""
    palette = colours(NUM_BOX_COLOURS)
    taken: dict[str, int] = {}
    for label in sorted(set(labels)):
        slots = [(zlib.crc32(label.encode()) + i) % NUM_BOX_COLOURS for i in range(NUM_BOX_COLOURS)]
        taken[label] = next((slot for slot in slots if slot not in taken.values()), slots[0])
    return {label: palette[slot] for label, slot in taken.items()}


def text_height(image_HWC: Array) -> int:
    """Height in pixels of letters that can be read on a picture of this size."""
    return int(np.clip(round(max(image_HWC.shape[:2]) * TEXT_HEIGHT_SHARE), MIN_TEXT_PX, MAX_TEXT_PX))


def _edges(mask_HW: Array) -> Array:
    """Pixels whose right or lower neighbour is of another class."""
    edge_HW = np.zeros(mask_HW.shape, bool)
    edge_HW[:, :-1] |= mask_HW[:, 1:] != mask_HW[:, :-1]
    edge_HW[:-1] |= mask_HW[1:] != mask_HW[:-1]
    return edge_HW


def _areas(boxes_xyxy: Array) -> Array:
    areas: Array = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    return areas


def _draw_tab(image_HWC: Array, caption: str, corner_xy: tuple[int, int], colour: RGB, text_px: int) -> None:
    """Letters on a ground of the box's colour, above its corner, or inside where there is no room above."""
    pad = max(2, text_px // 5)
    height, width = text_px + 2 * pad, _text_width(caption, text_px) + 2 * pad
    x = int(np.clip(corner_xy[0], 0, max(image_HWC.shape[1] - width, 0)))
    y = corner_xy[1] - height if corner_xy[1] >= height else max(corner_xy[1], 0)
    cv2.rectangle(image_HWC, (x, y), (x + width - 1, y + height - 1), colour, cv2.FILLED)
    ink = BLACK if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else WHITE
    _write(image_HWC, caption, (x + pad, y + pad + text_px - text_px // 8), ink, text_px)


def _text_width(text: str, text_px: int) -> int:
    _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _FONT, text_px)
    return int(width)


def _write(image_HWC: Array, text: str, baseline_xy: tuple[int, int], colour: RGB, text_px: int) -> None:
    cv2.putText(image_HWC, text, baseline_xy, colour, _FONT, text_px)


def _rgb(colour: Array) -> RGB:
    red, green, blue = colour.tolist()
    return (red, green, blue)
