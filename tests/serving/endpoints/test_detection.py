"""`?format=png` draws what was found on the picture as it came."""

import cv2
import numpy as np

from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tasks.detection import DetectedObject, Detection
from serving.endpoints import ENDPOINTS
from serving.endpoints.detection import ENDPOINT, render
from tests.builders import picture, png

LIMITS = Limits()
FOUND = Detection((DetectedObject((20.0, 30.0, 90.0, 80.0), "고양이", 0.87),))


def test_boxes_are_drawn_at_the_pictures_own_size() -> None:
    raw = png(picture(0, 120, 160))
    drawn = read_image(render(raw, FOUND, LIMITS), LIMITS)
    changed = (drawn != read_image(raw, LIMITS)).any(axis=2)
    assert drawn.shape == (120, 160, 3)
    assert changed[30, 20:90].all()
    assert not changed[40:70, 30:80].any()
    assert not changed[85:].any()


def test_nothing_found_is_the_picture_itself() -> None:
    raw = png(picture(0, 40, 60))
    assert np.array_equal(read_image(render(raw, Detection(()), LIMITS), LIMITS), read_image(raw, LIMITS))


def test_a_picture_is_drawn_on_as_a_person_sees_it() -> None:
    _, jpeg = cv2.imencode(".jpg", picture(0, 40, 60))
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    exif = b"\xff\xe1\x00\x22Exif\x00\x00" + tiff  # one entry: orientation 6, a quarter turn
    turned = jpeg.tobytes()[:2] + exif + jpeg.tobytes()[2:]
    assert read_image(render(turned, FOUND, LIMITS), LIMITS).shape == (60, 40, 3)


def test_the_endpoint_is_where_the_docs_say() -> None:
    assert ENDPOINTS["object-detection"] is ENDPOINT
    assert (ENDPOINT.path, ENDPOINT.task) == ("/v1/detect", "object-detection")
