"""The heat map of an answer is drawn over the very picture that was sent."""

import cv2
import numpy as np

from bundle.preprocess import ImageSource, Limits
from bundle.tasks.anomaly import AnomalyDecode, AnomalyOptions, AnomalyTask
from serving.endpoints.anomaly import ENDPOINT, render


def test_the_overlay_has_the_pictures_size_and_marks_the_anomaly() -> None:
    image_HWC = np.full((40, 60, 3), 90, np.uint8)
    _, png = cv2.imencode(".png", image_HWC)
    map_HW = np.zeros((20, 30), np.float32)
    map_HW[5:15, 15:25] = 0.9
    outputs = {"anomaly_score": np.float32(0.8), "anomaly_map": map_HW}
    answer = AnomalyTask(AnomalyDecode()).decode(outputs, ImageSource(40, 60), AnomalyOptions())
    drawn = cv2.imdecode(np.frombuffer(render(png.tobytes(), answer, Limits()), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == image_HWC.shape
    changed = (drawn != image_HWC).any(axis=2)
    assert changed[10:30, 30:50].mean() > 0.95
    assert not changed[:, :20].any()


def test_the_options_know_the_format_that_draws() -> None:
    assert ENDPOINT.render is render
    assert "format" in ENDPOINT.options_type.__struct_fields__
