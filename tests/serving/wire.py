"""Bodies that go over the wire, and the one shape that errors come back in."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from bundle.tasks.classification import ClassificationOptions
from runtime.predictor import Predictor

BOUNDARY = "yard"
MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"content-type": "application/json"}
PNG = {"content-type": "image/png"}


def error_of(response: httpx.Response, status: int, code: str) -> str:
    """The message of an error, after checking its status, its code and that nothing else is in it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error", "code"}
    assert body["code"] == code, body
    assert body["error"]
    assert "Traceback" not in body["error"]
    return str(body["error"])


def predictions_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The predictions of an answer, after checking that it is one."""
    assert response.status_code == 200, response.text
    body = response.json()
    assert list(body) == ["model", "version", "predictions"]
    return list(body["predictions"])


def predicted(predictor: Predictor, raws: Sequence[bytes], top_k: int | None = None) -> list[dict[str, Any]]:
    """What a Predictor in this process says of the same bytes, as JSON values."""
    predictions = predictor.predict(raws, ClassificationOptions(top_k=top_k))
    return list(json.loads(msgspec.json.encode(predictions)))


def instances(raws: Sequence[bytes]) -> dict[str, Any]:
    """The JSON body that holds these inputs."""
    return {"instances": [{"b64": base64.b64encode(raw).decode()} for raw in raws]}


def files(raws: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """The files of a multipart body, as httpx takes them."""
    return [("file", (f"{i}.png", raw, "image/png")) for i, raw in enumerate(raws)]


def multipart(*parts: bytes, disposition: str = 'name="file"; filename="picture.png"') -> bytes:
    """A multipart body byte by byte, for tests that break it."""
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
