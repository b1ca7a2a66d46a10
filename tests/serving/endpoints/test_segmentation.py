"""`POST /v1/segment`: a class for every pixel of the picture as it came, as PNG, as RLE, or drawn."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import msgspec
import numpy as np
import pytest

from bundle.preprocess import ImageResize
from bundle.rle import Rle, read_rle
from bundle.store import open_bundle
from bundle.tasks.segmentation import SegmentationDecode
from bundle.tensors import Array
from runtime.predictor import Predictor, load_predictor
from tests.builders import picture, png, write_fake_task_bundle
from tests.serving.running import running
from tests.serving.wire import error_of, files, predictions_of

SEGMENT = "/v1/segment"
LABELS = ("sky", "road", "tree")


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenters")
    preprocess, decode = ImageResize(height_px=9, width_px=12), SegmentationDecode(labels=LABELS)
    raws = [("image/png", png(seed=seed)) for seed in range(3)]
    write_fake_task_bundle(folder, "fake", "image-segmentation", preprocess, decode, raws)
    return folder


@pytest.fixture(scope="module")
def client(segmenters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(segmenters, tmp_path_factory.mktemp("server")) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server.client


@pytest.fixture(scope="module")
def segmenter(segmenters: Path) -> Predictor:
    return load_predictor(open_bundle(segmenters / "fake" / "1"))


def read(encoded: bytes) -> Array:
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def large(seed: int = 0) -> bytes:
    return png(picture(seed, height_px=150, width_px=200))


def test_the_answer_is_what_the_predictor_answers(client: httpx.Client, segmenter: Predictor) -> None:
    raws = [large(seed) for seed in range(3)]
    expected = json.loads(msgspec.json.encode(segmenter.predict(raws)))
    assert predictions_of(client.post(SEGMENT, files=files(raws))) == expected


def test_the_mask_is_of_the_pictures_own_size_and_tells_what_the_classes_say(client: httpx.Client) -> None:
    answer = predictions_of(client.post(SEGMENT, content=large()))[0]
    mask_HW = read(base64.b64decode(answer["mask_png"]))
    assert mask_HW.shape == (answer["height_px"], answer["width_px"]) == (150, 200)
    for area in answer["classes"]:
        assert LABELS[area["index"]] == area["label"]
        assert np.mean(mask_HW == area["index"]) == pytest.approx(area["share"])
    assert sum(area["share"] for area in answer["classes"]) == pytest.approx(1)


def test_rle_and_png_hold_the_same_mask(client: httpx.Client) -> None:
    as_png = predictions_of(client.post(SEGMENT, content=large()))[0]
    as_rle = predictions_of(client.post(SEGMENT, params={"mask": "rle"}, content=large()))[0]
    mask_HW = read(base64.b64decode(as_png["mask_png"]))
    assert "mask_png" not in as_rle
    for area in as_rle["classes"]:
        rle = Rle(tuple(area["rle"]["size"]), area["rle"]["counts"])
        assert np.array_equal(read_rle(rle), mask_HW == area["index"])


@pytest.mark.parametrize("mask", ["png", "rle"])
def test_format_png_draws_the_mask_on_the_picture_with_a_legend(client: httpx.Client, mask: str) -> None:
    response = client.post(SEGMENT, params={"format": "png", "mask": mask}, content=large())
    assert response.headers["content-type"] == "image/png"
    drawn = read(response.content)
    assert drawn.shape[1] == 200
    assert drawn.shape[0] > 150
    plain = client.post(SEGMENT, params={"format": "png"}, content=large())
    assert plain.content == response.content


def test_a_single_pixel_is_drawn_too(client: httpx.Client) -> None:
    response = client.post(SEGMENT, params={"format": "png"}, content=png(np.zeros((1, 1, 3), np.uint8)))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("query", [{"mask": "jpg"}, {"format": "pdf"}, {"top_k": "3"}])
def test_a_choice_that_is_none_is_refused(client: httpx.Client, query: dict[str, str]) -> None:
    error_of(client.post(SEGMENT, params=query, content=png()), 400, "bad_input")
