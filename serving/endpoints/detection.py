"""`POST /v1/detect`: pictures in, labelled boxes out, or the picture with the boxes drawn on it."""

import cv2
import numpy as np

from bundle.overlays import draw_boxes
from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tasks.detection import Detection, DetectionOptions
from serving.endpoints.endpoint import Endpoint
from serving.http.media import IMAGES


def render(raw: bytes, result: Detection, limits: Limits) -> bytes:
    """The boxes on the picture at its own size, as PNG."""
    image_HWC = read_image(raw, limits)
    found = result.detections
    boxes_xyxy = np.array([one.box_xyxy for one in found], np.float64).reshape(-1, 4)
    drawn = draw_boxes(image_HWC, boxes_xyxy, [one.label for one in found], [one.score for one in found])
    _, png = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    return png.tobytes()


ENDPOINT = Endpoint(
    path="/v1/detect",
    task="object-detection",
    summary="Find objects in pictures",
    medium=IMAGES,
    options_type=DetectionOptions,
    result_type=Detection,
    render=render,
    example="score_threshold=0.5&max_detections=20",
)
