"""An anomaly map as a picture: its PNG form, and the map laid over the picture it belongs to.

Knows OpenCV and arrays. Knows nothing of tasks, models or HTTP.
"""

import cv2
import numpy as np

from bundle.overlays import draw_map
from bundle.tensors import Array

LEVELS = 255
"""Grey value of the PNG = the map's value, 0 to 1, times this, rounded."""
OUTLINE = ((0, 0, 0), (255, 255, 255))  # dark below bright: seen on any ground
OUTLINE_SHARE = 0.004  # of the longer side
FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def encode_map(map_HW: Array, height_px: int, width_px: int) -> bytes:
    """float [h, w], 0 to 1 -> an 8-bit grey PNG of the size asked for, interpolated linearly."""
    levels_HW = np.rint(np.clip(np.nan_to_num(map_HW, nan=1.0), 0, 1) * LEVELS).astype(np.uint8)
    resized_HW = cv2.resize(levels_HW, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    _, png = cv2.imencode(".png", resized_HW, FAST_PNG)
    return png.tobytes()


def decode_map(png: bytes) -> Array:
    """What `encode_map` wrote -> float32 [height, width], 0 to 1."""
    levels_HW = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if levels_HW is None:
        raise ValueError(f"these {len(png)} bytes are not a PNG picture")
    return levels_HW.astype(np.float32) / LEVELS


def draw_anomaly(image_HWC: Array, map_HW: Array, threshold: float) -> Array:
    """Lay the map over the picture (one size; RGB uint8, float 0 to 1), and outline where it is over `threshold`."""
    drawn_HWC = np.ascontiguousarray(draw_map(image_HWC, map_HW))
    over_HW = (map_HW >= threshold).astype(np.uint8)
    contours, _ = cv2.findContours(over_HW, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    line_px = max(1, round(max(image_HWC.shape[:2]) * OUTLINE_SHARE))
    for colour, thickness in zip(OUTLINE, (line_px + 2, line_px), strict=True):
        cv2.drawContours(drawn_HWC, contours, -1, colour, thickness, cv2.LINE_AA)
    return drawn_HWC
