import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from bundle.preprocess.image import FORMATS
from bundle.store import open_bundle
from runtime.predictor import Predictor
from tests.builders import LABELS, png
from tests.serving import pictures
from tests.serving.running import Server
from tests.serving.wire import PNG, error_of, files, instances, predicted, predictions_of

CLASSIFY = "/v1/classify"
MANY = [png(seed=seed) for seed in range(6)]  # more than the bundle's max_batch_size of 4

UNUSUAL = {
    "a single pixel": pictures.single_pixel_png(),
    "a CMYK JPEG": pictures.encoded("JPEG", "CMYK"),
    "a grey JPEG": pictures.encoded("JPEG", "L"),
    "a black-and-white PNG": pictures.encoded("PNG", "1"),
    "a palette PNG": pictures.encoded("PNG", "P"),
    "a transparent PNG": pictures.encoded("PNG", "RGBA"),
    "a 16-bit PNG": pictures.encoded("PNG", "I;16"),
    "an animated GIF": pictures.animated_gif(),
}

BROKEN = {
    "no bytes": (b"", "0 bytes"),
    "text": (b"this is no picture", "not a picture"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "send a JPEG"),
    "a signature alone": (pictures.SIGNATURE, "not a picture"),
    "a truncated JPEG": (pictures.truncated_jpeg(), "truncated"),
    "a truncated PNG": (png()[:-30], "truncated"),
    "a header cut in two": (pictures.encoded("JPEG")[:200], "damaged"),
    "a PNG of no size": (pictures.png_header(0, 0), "not a picture"),
    "a PNG without pixels": (pictures.png_header(16, 12), "cannot be decoded"),
}


@pytest.mark.parametrize("media_type", FORMATS.values())
def test_a_raw_picture_of_any_format_is_answered_as_the_predictor_answers(
    client: httpx.Client, predictor: Predictor, media_type: str
) -> None:
    raw = pictures.encoded(media_type.partition("/")[2].upper())
    response = client.post(CLASSIFY, content=raw, headers={"content-type": media_type})
    assert predictions_of(response) == predicted(predictor, [raw])


@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "image/jpeg", "IMAGE/PNG; charset=binary"])
def test_the_bytes_decide_what_a_picture_is(client: httpx.Client, predictor: Predictor, media_type: str | None) -> None:
    headers = {"content-type": media_type} if media_type else {}
    assert predictions_of(client.post(CLASSIFY, content=png(), headers=headers)) == predicted(predictor, [png()])


def test_the_answer_has_the_documented_shape(client: httpx.Client) -> None:
    answer = client.post(CLASSIFY, content=png()).json()
    assert (answer["model"], answer["version"], len(answer["predictions"])) == ("fake", 1, 1)
    prediction = answer["predictions"][0]
    assert list(prediction) == ["label", "score", "top_k"]
    assert all(list(entry) == ["label", "score"] for entry in prediction["top_k"])
    assert {entry["label"] for entry in prediction["top_k"]} == set(LABELS)
    scores = [entry["score"] for entry in prediction["top_k"]]
    assert scores == sorted(scores, reverse=True)
    assert {"label": prediction["label"], "score": prediction["score"]} == prediction["top_k"][0]


def test_golden_samples_get_their_golden_answers(client: httpx.Client, repository: Path) -> None:
    for sample in open_bundle(repository / "fake" / "1").golden():
        response = client.post(CLASSIFY, content=sample.raw, headers={"content-type": sample.media_type})
        assert predictions_of(response) == [json.loads(msgspec.json.encode(sample.answer))]


@pytest.mark.parametrize("raws", [MANY[:1], MANY], ids=["one", "many"])
def test_files_are_answered_in_their_order(client: httpx.Client, predictor: Predictor, raws: list[bytes]) -> None:
    assert predictions_of(client.post(CLASSIFY, files=files(raws))) == predicted(predictor, raws)


@pytest.mark.parametrize("raws", [MANY[:1], MANY], ids=["one", "many"])
def test_json_instances_are_answered_in_their_order(
    client: httpx.Client, predictor: Predictor, raws: list[bytes]
) -> None:
    assert predictions_of(client.post(CLASSIFY, json=instances(raws))) == predicted(predictor, raws)


def test_a_picture_has_the_same_answer_alone_and_among_others(client: httpx.Client) -> None:
    alone = [predictions_of(client.post(CLASSIFY, content=raw))[0] for raw in MANY]
    assert predictions_of(client.post(CLASSIFY, files=files(MANY))) == alone


@pytest.mark.parametrize(("top_k", "listed"), [(1, 1), (2, 2), (3, 3), (1000, 3), (10**30, 3)])
def test_top_k_says_how_many_labels_are_listed_and_is_clipped_to_all(
    client: httpx.Client, top_k: int, listed: int
) -> None:
    predictions = predictions_of(client.post(CLASSIFY, params={"top_k": top_k}, content=png()))
    assert len(predictions[0]["top_k"]) == listed


@pytest.mark.parametrize("what", UNUSUAL)
def test_an_unusual_picture_is_answered(client: httpx.Client, predictor: Predictor, what: str) -> None:
    assert predictions_of(client.post(CLASSIFY, content=UNUSUAL[what])) == predicted(predictor, [UNUSUAL[what]])


def test_of_an_animation_the_first_frame_counts(client: httpx.Client) -> None:
    animation, still = pictures.animated_gif(), pictures.encoded("GIF")
    answers = [predictions_of(client.post(CLASSIFY, content=raw)) for raw in (animation, still)]
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_picture_is_refused_with_the_cause(client: httpx.Client, what: str) -> None:
    raw, cause = BROKEN[what]
    assert cause in error_of(client.post(CLASSIFY, content=raw, headers=PNG), 400, "bad_input")


@pytest.mark.parametrize(
    ("raw", "status"), [(pictures.damaged_png(), 400), (pictures.jpeg_with_damaged_exif(), 200)], ids=["png", "exif"]
)
def test_a_damaged_picture_is_answered_and_not_logged_by_a_codec(server: Server, raw: bytes, status: int) -> None:
    before = server.stderr()
    assert server.client.post(CLASSIFY, content=raw).status_code == status
    assert server.stderr() == before


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("side_px", [8_000, 10_000, 100_000])
def test_a_picture_over_the_pixel_limit_is_refused_from_its_header(client: httpx.Client, side_px: int) -> None:
    response = client.post(CLASSIFY, content=pictures.png_header(side_px, side_px), headers=PNG)
    message = error_of(response, 413, "input_too_large")
    assert message == f"the picture is {side_px} x {side_px} pixels; at most 50000000 pixels are decoded"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.usefixtures("still_answers")
def test_a_chunk_that_claims_to_be_huge_costs_no_memory(client: httpx.Client, server: Server) -> None:
    before = server.peak_memory_bytes()
    response = client.post(CLASSIFY, content=pictures.png_with_chunk_length(800 * 2**20), headers=PNG)
    error_of(response, 400, "bad_input")
    assert server.peak_memory_bytes() - before < 100 * 2**20


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_one_bad_picture_among_good_ones_is_named_by_its_index(client: httpx.Client, bad: int) -> None:
    raws = [b"junk" if i == bad else png() for i in range(4)]
    for response in (client.post(CLASSIFY, files=files(raws)), client.post(CLASSIFY, json=instances(raws))):
        assert error_of(response, 400, "bad_input").startswith(f"instance {bad}: ")


def test_concurrent_requests_each_get_their_own_answer(client: httpx.Client, predictor: Predictor) -> None:
    raws = [png(seed=seed) for seed in range(120)]

    def ask(raw: bytes) -> dict[str, object]:
        return predictions_of(client.post(CLASSIFY, content=raw))[0]

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, raws))
    assert answers == predicted(predictor, raws)
