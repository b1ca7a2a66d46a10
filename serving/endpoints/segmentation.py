"""`POST /v1/segment`: pictures in, the class of every pixel out; `?format=png` draws it."""

import cv2
import numpy as np

from bundle.overlays import colours, draw_legend, draw_mask, text_height
from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tasks.segmentation import Segmentation, SegmentationOptions, class_mask
from serving.endpoints.endpoint import Endpoint
from serving.http.media import IMAGES


def render(raw: bytes, result: Segmentation, limits: Limits) -> bytes:
    """The picture with its classes tinted and a legend below, as a PNG of the picture's width."""
    image_HWC = read_image(raw, limits)
    palette = colours(max(area.index for area in result.classes) + 1)
    drawn = draw_mask(image_HWC, class_mask(result), palette)
    captions = [f"{area.label} {area.share:.0%}" if area.share >= 0.005 else area.label for area in result.classes]
    own = [palette[area.index] for area in result.classes]
    legend = draw_legend(drawn.shape[1], captions, own, text_height(drawn))
    _, png = cv2.imencode(".png", cv2.cvtColor(np.concatenate([drawn, legend]), cv2.COLOR_RGB2BGR))
    return png.tobytes()


ENDPOINT = Endpoint(
    path="/v1/segment",
    task="image-segmentation",
    summary="Say for every pixel of a picture what it shows",
    medium=IMAGES,
    options_type=SegmentationOptions,
    result_type=Segmentation,
    render=render,
    example="mask=png",
)
