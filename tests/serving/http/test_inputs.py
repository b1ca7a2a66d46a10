import json
import re
import socket
import struct
from collections.abc import Iterator

import httpx
import pytest

from tests.builders import png
from tests.serving.running import MAX_BODY_BYTES, MAX_INPUT_BYTES, MAX_INSTANCES, Server
from tests.serving.wire import BOUNDARY, JSON, MULTIPART, PNG, error_of, files, instances, multipart, predictions_of

CLASSIFY = "/v1/classify"
TEXT_FIELD = 'name="file"'
REFUSED_TYPES = ["application/xml", "text/plain", "video/mp4", "image/svg+xml", "image", "", "application/json5"]
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() resets the connection

NOT_INSTANCES = {
    "a list": b"[]",
    "a string": b'"picture"',
    "null": b"null",
    "nothing": b"",
    "an empty object": b"{}",
    "an object in place of the list": b'{"instances": {}}',
    "a string for an instance": b'{"instances": ["aGVsbG8="]}',
    "no b64": b'{"instances": [{}]}',
    "a number for b64": b'{"instances": [{"b64": 5}]}',
    "null for b64": b'{"instances": [{"b64": null}]}',
    "an extra key": b'{"instances": [], "model": "fake"}',
    "an extra key in an instance": b'{"instances": [{"b64": "", "name": "x"}]}',
    "two documents": b'{"instances": []} {"instances": []}',
    "a cut-off document": b'{"instances": [{"b64": "aGVs',
    "base64 garbage": b'{"instances": [{"b64": "!!!"}]}',
    "base64 without padding": b'{"instances": [{"b64": "aGVsbG8"}]}',
    "invalid UTF-8": b"\xff\xfe",
    "invalid UTF-8 in a value": b'{"instances": [{"b64": "\xff"}]}',
    "invalid UTF-8 in a key": b'{"\xff": 1}',
    "invalid UTF-8 in a key of an instance": b'{"instances": [{"\xff": 1}]}',
    "a lone surrogate": b'{"instances": [{"b64": "\\ud800"}]}',
    "100,000 brackets": b"[" * 100_000,
    "100,000 brackets for an instance": b'{"instances": ' + b"[" * 100_000,
    "100,000 brackets for b64": b'{"instances": [{"b64": ' + b"[" * 100_000,
    "50,000 objects": b'{"instances": ' * 50_000,
}

NOT_MULTIPART = {
    "garbage": b"garbage",
    "another boundary": multipart(png()).replace(BOUNDARY.encode(), b"dock"),
    "a part without a name": multipart(png(), disposition='filename="a.png"'),
    "a part without headers": f"--{BOUNDARY}\r\n\r\nabc\r\n--{BOUNDARY}--\r\n".encode(),
    "a header that is none": f"--{BOUNDARY}\r\n(((\r\n\r\nabc\r\n--{BOUNDARY}--\r\n".encode(),
}

pytestmark = pytest.mark.usefixtures("still_answers")


@pytest.mark.parametrize("media_type", REFUSED_TYPES)
def test_a_content_type_that_is_not_read_is_refused_with_those_that_are(client: httpx.Client, media_type: str) -> None:
    response = client.post(CLASSIFY, content=png(), headers={"content-type": media_type})
    message = error_of(response, 415, "unsupported_media")
    assert f"'{media_type}'" in message
    assert all(word in message for word in ("image/png", "multipart/form-data", "application/json"))


def test_curls_default_content_type_is_refused_with_a_hint(client: httpx.Client) -> None:
    response = client.post(CLASSIFY, content=png(), headers={"content-type": "application/x-www-form-urlencoded"})
    assert "curl sends this where no -H" in error_of(response, 415, "unsupported_media")


@pytest.mark.parametrize("what", NOT_INSTANCES)
def test_json_of_another_shape_is_refused_with_the_right_one(client: httpx.Client, what: str) -> None:
    message = error_of(client.post(CLASSIFY, content=NOT_INSTANCES[what], headers=JSON), 400, "bad_input")
    assert message.startswith('the JSON body is not {"instances": [{"b64": "<base64>"}, ...]}: ')


def test_json_that_is_wrong_deep_inside_is_told_where(client: httpx.Client) -> None:
    body = instances([png(), png()])
    body["instances"][1]["b64"] = 5
    assert "`$.instances[1].b64`" in error_of(client.post(CLASSIFY, json=body), 400, "bad_input")


@pytest.mark.parametrize("body", [{"instances": []}, {"instances": [{"b64": ""}]}], ids=str)
def test_json_without_any_input_is_refused(client: httpx.Client, body: dict[str, object]) -> None:
    error_of(client.post(CLASSIFY, json=body), 400, "bad_input")


def test_more_instances_than_the_limit_are_refused_with_both_numbers(client: httpx.Client) -> None:
    response = client.post(CLASSIFY, json=instances([png()] * (MAX_INSTANCES + 1)))
    message = error_of(response, 413, "input_too_large")
    assert message == f"the request holds {MAX_INSTANCES + 1} inputs; at most {MAX_INSTANCES} are answered at once"


def test_as_many_inputs_as_the_limit_are_answered(client: httpx.Client) -> None:
    raws = [png(seed=seed) for seed in range(MAX_INSTANCES)]
    for response in (client.post(CLASSIFY, json=instances(raws)), client.post(CLASSIFY, files=files(raws))):
        assert len(predictions_of(response)) == MAX_INSTANCES


@pytest.mark.parametrize("number", [MAX_INSTANCES + 1, 1000])
def test_more_files_than_the_limit_are_refused(client: httpx.Client, number: int) -> None:
    message = error_of(client.post(CLASSIFY, files=files([png()] * number)), 413, "input_too_large")
    assert f"at most {MAX_INSTANCES}" in message or f"more than {MAX_INSTANCES} files" in message


@pytest.mark.parametrize("what", NOT_MULTIPART)
def test_a_body_that_is_not_multipart_is_refused(client: httpx.Client, what: str) -> None:
    error_of(client.post(CLASSIFY, content=NOT_MULTIPART[what], headers=MULTIPART), 400, "bad_input")


@pytest.mark.parametrize("parameter", ["", "; boundary=", "; boundary=" + "b" * 5000, "; boundary=\xff"])
def test_multipart_without_a_usable_boundary_is_refused(client: httpx.Client, parameter: str) -> None:
    headers = {"content-type": f"multipart/form-data{parameter}".encode("latin-1")}
    response = client.post(CLASSIFY, content=multipart(png()), headers=headers)  # type: ignore[arg-type]
    assert "multipart" in error_of(response, 400, "bad_input")


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "hex", "klingon", "utf-16"])
def test_a_strange_charset_of_a_multipart_body_is_no_reason_to_fail(client: httpx.Client, charset: str) -> None:
    headers = {"content-type": f"{MULTIPART['content-type']}; charset={charset}"}
    for disposition in ('name="file"; filename="\\ud800"', 'name="\\ud800\xe9"'):
        response = client.post(CLASSIFY, content=multipart(png(), disposition=disposition), headers=headers)
        assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize("missing_bytes", [4, 9, 100])
def test_a_multipart_body_that_was_cut_off_is_refused_whole(client: httpx.Client, missing_bytes: int) -> None:
    body = multipart(png(), png())[:-missing_bytes]
    assert "cut off" in error_of(client.post(CLASSIFY, content=body, headers=MULTIPART), 400, "bad_input")


def test_the_line_break_after_the_last_boundary_may_be_missing(client: httpx.Client) -> None:
    body = multipart(png(), png())[:-2]
    assert len(predictions_of(client.post(CLASSIFY, content=body, headers=MULTIPART))) == 2


def test_multipart_without_parts_is_refused(client: httpx.Client) -> None:
    response = client.post(CLASSIFY, content=multipart(), headers=MULTIPART)
    assert error_of(response, 400, "bad_input") == "the request holds no inputs; send at least one"


def test_a_text_field_in_place_of_a_file_is_refused_with_the_way_to_send_a_file(client: httpx.Client) -> None:
    body = multipart(b"picture.png", disposition=TEXT_FIELD)
    message = error_of(client.post(CLASSIFY, content=body, headers=MULTIPART), 400, "bad_input")
    assert message == "the multipart field 'file' is text, not a file; with curl: -F 'file=@picture.png'"


def test_an_empty_file_among_others_is_named(client: httpx.Client) -> None:
    message = error_of(client.post(CLASSIFY, files=files([png(), b""])), 400, "bad_input")
    assert message.startswith("instance 1: the picture is empty")


def test_a_file_whose_name_is_not_ascii_is_still_a_file(client: httpx.Client) -> None:
    response = client.post(CLASSIFY, files=[("file", ("Käse 猫.png", png(), "image/png"))])
    assert len(predictions_of(response)) == 1


@pytest.mark.parametrize("headers", [PNG, JSON, MULTIPART], ids=["raw", "json", "multipart"])
def test_a_body_that_is_announced_too_long_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    response = client.post(CLASSIFY, content=bytes(MAX_BODY_BYTES + 1), headers=headers)
    message = error_of(response, 413, "input_too_large")
    assert message == f"the body has {MAX_BODY_BYTES + 1} bytes; at most {MAX_BODY_BYTES} are read"


@pytest.mark.parametrize("headers", [PNG, JSON, MULTIPART], ids=["raw", "json", "multipart"])
def test_a_body_without_a_length_is_refused_once_it_is_too_long(client: httpx.Client, headers: dict[str, str]) -> None:
    def chunks() -> Iterator[bytes]:
        yield multipart(png()).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"  # multipart is parsed while it comes in
        for _ in range(11):
            yield bytes(MAX_BODY_BYTES // 10)

    response = client.post(CLASSIFY, content=chunks(), headers=headers)
    assert f"more than {MAX_BODY_BYTES} bytes" in error_of(response, 413, "input_too_large")


def test_a_body_without_a_length_is_answered(client: httpx.Client) -> None:
    response = client.post(CLASSIFY, content=iter([png()[:100], png()[100:]]), headers=PNG)
    assert "content-length" not in response.request.headers
    assert len(predictions_of(response)) == 1


def test_an_input_over_its_own_limit_is_refused_by_every_way_in(client: httpx.Client) -> None:
    raw = png() + bytes(MAX_INPUT_BYTES)
    expected = f"the picture has {len(raw)} bytes; at most {MAX_INPUT_BYTES} are read"
    assert error_of(client.post(CLASSIFY, content=raw), 413, "input_too_large") == expected
    for response in (
        client.post(CLASSIFY, files=files([png(), raw])),
        client.post(CLASSIFY, json=instances([png(), raw])),
    ):
        assert error_of(response, 413, "input_too_large") == f"instance 1: {expected}"


def num_refused(server: Server) -> int:
    """How often the server counted a client that left."""
    counted = re.findall(
        r'modelyard_requests_total{code="499",route="/v1/classify"} (\d+)', server.client.get("/metrics").text
    )
    return int(counted[0]) if counted else 0


@pytest.mark.parametrize("abort", [False, True], ids=["closed", "reset"])
def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(server: Server, abort: bool) -> None:
    media_types = ("image/png", "application/json", MULTIPART["content-type"])
    before = num_refused(server)
    for media_type in media_types:
        with socket.create_connection(server.address, timeout=10) as connection:
            if abort:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\nContent-Length: 900\r\n\r\n"
            connection.sendall(head.encode() + multipart(png())[:300])
    server.wait_until(lambda: num_refused(server) == before + len(media_types), "the uploads to be given up")


def test_json_may_hold_its_keys_in_any_spelling_that_json_allows(client: httpx.Client) -> None:
    body = json.dumps(instances([png()])).replace("b64", "\\u0062\\u00364")
    assert len(predictions_of(client.post(CLASSIFY, content=body, headers=JSON))) == 1
