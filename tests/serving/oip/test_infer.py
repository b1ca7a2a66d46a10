import gzip
import json
import socket
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from bundle.errors import InputTooLarge
from runtime.predictor import Predictor
from serving.http.inputs import InputLimits
from serving.oip.infer import understand
from serving.oip.request import HEADER
from tests.builders import LABELS, png
from tests.serving import pictures as odd_pictures
from tests.serving.oip.bodies import answer_of, binary_input, body_of, encoded_input, json_input
from tests.serving.oip.manifests import SERIES
from tests.serving.running import MAX_BODY_BYTES, MAX_INSTANCES, Server
from tests.serving.wire import error_of

PICTURES = (np.arange(2 * 8 * 8 * 3) % 251).astype(np.uint8).reshape(2, 8, 8, 3)
BEATS = np.array([[0.5, 1, 2, 4], [1, 1, 1, 1]], np.float32)
PICTURES_INFER, BEATS_INFER, TEXTS_INFER = (f"/v2/models/{name}/infer" for name in ("pictures", "beats", "embedder"))


def post(client: httpx.Client, path: str, document: Any, *raws: bytes, **headers: str) -> httpx.Response:
    body, own = body_of(document, *raws)
    return client.post(path, content=body, headers=own | {name.replace("_", "-"): one for name, one in headers.items()})


def computed(predictor: Predictor, name: str, batch: np.ndarray, output: str) -> np.ndarray:
    """What a Predictor in this process gives for the same tensors."""
    return np.stack([row[output] for row in predictor.run([{name: one} for one in batch])])


@pytest.mark.parametrize("path", [PICTURES_INFER, "/v2/models/pictures/versions/1/infer", PICTURES_INFER + "?a=1&b=2"])
def test_json_in_json_out(oip: httpx.Client, pictures: Predictor, path: str) -> None:
    document, arrays = answer_of(post(oip, path, {"id": "7", "inputs": [json_input("image", PICTURES)]}))
    assert list(document) == ["model_name", "model_version", "id", "outputs"]
    assert (document["model_name"], document["model_version"], document["id"]) == ("pictures", "1", "7")
    np.testing.assert_array_equal(arrays["scores"], computed(pictures, "image", PICTURES, "scores"))


def test_binary_in_binary_out(oip: httpx.Client, beats: Predictor) -> None:
    described, raw = binary_input("series", BEATS)
    response = post(oip, BEATS_INFER, {"inputs": [described], "parameters": {"binary_data_output": True}}, raw)
    document, arrays = answer_of(response)
    assert "id" not in document
    np.testing.assert_array_equal(arrays["errors"], computed(beats, "series", BEATS, "errors"))
    np.testing.assert_array_equal(arrays["anomaly_score"], computed(beats, "series", BEATS, "anomaly_score"))


def test_the_same_picture_gives_the_same_answer_on_both_protocols(oip: httpx.Client) -> None:
    described, raw = encoded_input("image", [png(), odd_pictures.encoded("JPEG")])
    outputs = [{"name": "scores", "parameters": {"classification": 3}}]
    _, arrays = answer_of(post(oip, PICTURES_INFER, {"inputs": [described], "outputs": outputs}, raw))
    for named, picture in zip(arrays["scores"], (png(), odd_pictures.encoded("JPEG")), strict=True):
        (told,) = oip.post("/v1/classify", content=picture).json()["predictions"]
        found = [one.decode().split(":") for one in named]
        assert [one[2] for one in found] == [one["label"] for one in told["top_k"]]
        assert [float(one[0]) for one in found] == [pytest.approx(one["score"], rel=1e-6) for one in told["top_k"]]
        assert [LABELS[int(one[1])] for one in found] == [one[2] for one in found]


def test_texts_as_json_or_binary_are_what_v1_answers(oip: httpx.Client) -> None:
    texts = ["good film", "안녕 🙂 film"]
    told = [oip.post("/v1/text/embed", json={"instances": [text]}).json()["predictions"][0] for text in texts]
    expected = np.array([one["embedding"] for one in told], np.float32)
    as_json = {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": texts}]}
    described, raw = encoded_input("text", [text.encode() for text in texts], [2, 1])
    for response in (post(oip, TEXTS_INFER, as_json), post(oip, TEXTS_INFER, {"inputs": [described]}, raw)):
        np.testing.assert_allclose(answer_of(response)[1]["embedding"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "output"),
    [(PICTURES_INFER, PICTURES[0].tobytes(), "scores"), (BEATS_INFER, BEATS[0].tobytes(), "errors")],
)
def test_a_body_without_json_is_the_tensor(oip: httpx.Client, path: str, body: bytes, output: str) -> None:
    response = oip.post(path, content=body, headers={HEADER: "0"})
    assert response.headers["content-type"] == "application/octet-stream"
    assert answer_of(response)[1][output].shape[0] == 1


@pytest.mark.parametrize(
    ("path", "body"), [(PICTURES_INFER, png()), (BEATS_INFER, SERIES), (TEXTS_INFER, b"good film")]
)
def test_a_body_without_json_may_be_the_encoded_input(oip: httpx.Client, path: str, body: bytes) -> None:
    _, arrays = answer_of(oip.post(path, content=body, headers={HEADER: "0"}))
    assert all(array.dtype == np.float32 for array in arrays.values())


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_packed_requests_and_answers(oip: httpx.Client, coding: str, pack: Any) -> None:
    described, raw = binary_input("image", PICTURES)
    body, headers = body_of({"inputs": [described]}, raw)
    headers |= {"content-encoding": coding, "accept-encoding": coding}
    response = oip.post(PICTURES_INFER, content=pack(body), headers=headers)
    assert response.headers["content-encoding"] == coding
    assert answer_of(response)[1]["scores"].shape == (2, 3)


def test_a_coding_that_is_not_read_is_refused_with_those_that_are(oip: httpx.Client) -> None:
    response = oip.post(PICTURES_INFER, content=b"x", headers={"content-encoding": "br"})
    assert "send gzip, deflate" in error_of(response, 415, "unsupported_media")
    assert response.headers["accept-encoding"] == "gzip, deflate"


def test_a_packed_body_over_the_limit_is_refused(oip: httpx.Client) -> None:
    body = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    response = oip.post(PICTURES_INFER, content=body, headers={"content-encoding": "gzip"})
    assert "unpacks to more than" in error_of(response, 413, "input_too_large")


def test_random_bits_are_answered(oip: httpx.Client) -> None:
    noise = np.frombuffer(np.random.default_rng(1).bytes(32), np.float32).reshape(2, 4).copy()
    noise[0, 0], noise[0, 1] = np.nan, np.inf
    described, raw = binary_input("series", noise)
    for binary in (True, False):
        document = {"inputs": [described], "parameters": {"binary_data_output": binary}}
        with np.errstate(invalid="ignore"):
            assert np.isnan(answer_of(post(oip, BEATS_INFER, document, raw))[1]["errors"][0]).all()


def test_a_bad_row_is_told_by_its_number(oip: httpx.Client) -> None:
    described, raw = encoded_input("image", [png(), b"no picture"])
    message = error_of(post(oip, PICTURES_INFER, {"inputs": [described]}, raw), 400, "bad_input")
    assert message.startswith("instance 1:")


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/v2/models/nobody/infer", "model_not_found", "Request for unknown model"),
        ("/v2/models/pictures/versions/2/infer", "model_not_found", "version 2"),
        ("/v2/models/pictures/versions/one/infer", "model_not_found", "no version 'one'"),
        ("/v2/models/pictures/versions/" + "9" * 5000 + "/infer", "model_not_found", "no version"),
        ("/v2/models//infer", "model_not_found", "Request for unknown model"),
        ("/v2/models/a/b/infer", "not_found", "Not Found"),
        ("/v2/models/..%2f..%2fetc/infer", "not_found", "Not Found"),
    ],
)
def test_what_is_not_there_is_not_found(oip: httpx.Client, path: str, code: str, message: str) -> None:
    assert message in error_of(oip.post(path, content=b"{}"), 404, code)


def test_a_refused_model_says_why(oip: httpx.Client) -> None:
    error_of(oip.post("/v2/models/damaged/infer", content=b"{}"), 503, "model_not_ready")


def test_a_name_may_be_quoted(oip: httpx.Client) -> None:
    assert post(oip, "/v2/models/%70ictures/infer", {"inputs": [json_input("image", PICTURES)]}).status_code == 200


def test_another_method_is_not_allowed(oip: httpx.Client) -> None:
    assert oip.get(PICTURES_INFER).status_code == 405


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"inputs": [json_input("image", PICTURES[0])]}, "the batch dimension is missing; send [1, 8, 8, 3]"),
        ({"inputs": [json_input("image", np.repeat(PICTURES, 5, 0))]}, f"a request holds 1 to {MAX_INSTANCES} rows"),
        ({"inputs": [json_input("image", PICTURES)], "outputs": [{"name": "x"}]}, "unexpected inference output 'x'"),
        ({"inputs": [json_input("image", PICTURES)], "parameters": {"triton_x": 1}}, "reserved"),
        (b"", "it is empty"),
    ],
)
def test_what_cannot_be_answered_is_refused(oip: httpx.Client, document: Any, message: str) -> None:
    assert message in error_of(post(oip, PICTURES_INFER, document), 400, "bad_input")


@pytest.mark.parametrize("given", ["-1", "nonsense", "99999999999", "1000000"])
def test_a_header_out_of_range_is_refused_and_the_server_lives(oip: httpx.Client, given: str) -> None:
    response = oip.post(PICTURES_INFER, content=b"{}", headers={HEADER: given})
    assert HEADER in error_of(response, 400, "bad_input")


@pytest.mark.parametrize("parameters", [{"sequence_id": 1}, {"sequence_id": "x"}])
def test_a_sequence_is_not_done(oip: httpx.Client, parameters: dict[str, Any]) -> None:
    response = post(oip, PICTURES_INFER, {"inputs": [json_input("image", PICTURES)], "parameters": parameters})
    error_of(response, 501, "unsupported")


def test_a_timeout_that_is_over_is_told(oip: httpx.Client) -> None:
    document = {"inputs": [json_input("image", PICTURES)], "parameters": {"timeout": 1, "priority": 1}}
    error_of(post(oip, PICTURES_INFER, document), 504, "deadline_exceeded")


def test_headers_and_body_go_out_together(oip_server: Server) -> None:
    """Written apart, the second waits for an acknowledgement that the first's receiver delays."""
    body, _ = body_of({"inputs": [json_input("image", PICTURES)]})
    head = f"POST {PICTURES_INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(oip_server.address, timeout=10) as plain:
        plain.sendall(head + body)
        first = plain.recv(65536)
    assert first.endswith(b"]}]}"), first


def test_requests_of_one_connection_follow_each_other_after_an_error(oip: httpx.Client) -> None:
    for _ in range(3):
        assert oip.post(PICTURES_INFER, content=b"{").status_code == 400
        assert post(oip, PICTURES_INFER, {"inputs": [json_input("image", PICTURES)]}).status_code == 200


def test_more_values_than_the_limit_are_refused_before_any_is_read(pictures: Predictor) -> None:
    limits = InputLimits(MAX_BODY_BYTES, 1, MAX_INSTANCES, max_json_elements=200)
    body, _ = body_of({"inputs": [json_input("image", PICTURES)]})
    with pytest.raises(InputTooLarge, match="at most 200 are read"):
        understand(pictures.manifest, Headers(), body, limits)
    described, raw = binary_input("image", PICTURES)
    body, headers = body_of({"inputs": [described]}, raw)
    assert len(understand(pictures.manifest, Headers(headers), body, limits).rows) == 2


JSON_FRAGMENTS = [b"{", b"}", b"[", b"]", b",", b":", b'"inputs"', b'"x"', b"2", b"-1", b"null", b"1e999", b"NaN", b'"']


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    """A good request of any kind with a few bytes of its body or its headers changed."""
    beats, raw_beats = binary_input("series", BEATS)
    texts, raw_texts = encoded_input("text", [b"good film", b"bad"])
    picture, raw_picture = encoded_input("image", [png()])
    path, (body, headers) = draw(
        st.sampled_from(
            [
                (BEATS_INFER, body_of({"inputs": [beats], "parameters": {"binary_data_output": True}}, raw_beats)),
                (BEATS_INFER, body_of({"inputs": [json_input("series", BEATS)], "outputs": [{"name": "errors"}]})),
                (TEXTS_INFER, body_of({"inputs": [texts]}, raw_texts)),
                (PICTURES_INFER, body_of({"inputs": [picture]}, raw_picture)),
                (PICTURES_INFER, (png(), {HEADER: "0"})),
            ]
        )
    )
    changed = bytearray(body)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(changed)))
        inserted = draw(st.one_of(st.binary(max_size=4), st.sampled_from(JSON_FRAGMENTS)))
        changed[start : start + draw(st.integers(0, 5))] = inserted
    more = draw(
        st.sampled_from(
            [{}, {}, {}, {HEADER: "0"}, {HEADER: "17"}, {HEADER: "x"}, {"content-encoding": "gzip"}, {HEADER: "2" * 9}]
        )
    )
    return path, bytes(changed), headers | more


@pytest.mark.usefixtures("oip_server")
def test_whatever_is_sent_is_answered_or_refused(oip: httpx.Client) -> None:
    @settings(max_examples=500, derandomize=True, deadline=None, database=None)
    @given(request=damaged())
    def holds(request: tuple[str, bytes, dict[str, str]]) -> None:
        path, body, headers = request
        response = oip.post(path, content=body, headers=headers)
        assert response.status_code in (200, 400, 413, 415, 501), response.text
        if response.status_code != 200:
            assert json.loads(response.content)["error"]

    holds()
    assert post(oip, BEATS_INFER, {"inputs": [json_input("series", BEATS)]}).status_code == 200
