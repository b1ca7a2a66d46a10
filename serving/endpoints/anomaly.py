"""`POST /v1/anomaly`: pictures in; how far from normal they are out, and where."""

import cv2

from bundle.heatmap import decode_map, draw_anomaly
from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tasks.anomaly import Anomaly, AnomalyOptions
from serving.endpoints.endpoint import Endpoint
from serving.http.media import IMAGES


def render(raw: bytes, result: Anomaly, limits: Limits) -> bytes:
    """The picture below its heat map, outlined where the map is over its threshold; PNG."""
    found = result.anomaly_map
    drawn_HWC = draw_anomaly(read_image(raw, limits), decode_map(found.b64), found.threshold)
    _, png = cv2.imencode(".png", cv2.cvtColor(drawn_HWC, cv2.COLOR_RGB2BGR))
    return png.tobytes()


ENDPOINT = Endpoint(
    path="/v1/anomaly",
    task="anomaly-detection",
    summary="Find anomalies in pictures",
    medium=IMAGES,
    options_type=AnomalyOptions,
    result_type=Anomaly,
    render=render,
    example="format=png",
)
