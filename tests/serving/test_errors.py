import asyncio
import json

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle import errors as tree
from bundle.errors import BadInput, ModelyardError
from serving import errors
from serving.errors import STATUS, error_response, status_of
from tests.builders import png
from tests.serving import pictures
from tests.serving.wire import BOUNDARY, MULTIPART, error_of, instances, multipart

CLASSIFY = "/v1/classify"
OFFLINE = {
    tree.BundleError, tree.ParityError, tree.DataError, tree.RunError, tree.UnusableModel,
    tree.OutputTaken, tree.TooManyErrors, tree.SourceError, tree.SourceInterrupted,
}  # fmt: skip
"""Raised where nobody waits for an answer: as models are loaded, exported or trained, by scoring jobs and fetches."""

STRANGE_CHARSET = f"{MULTIPART['content-type']}; charset=undefined"
GOOD = [
    ("image/png", png()),
    ("application/json", json.dumps(instances([png()])).encode()),
    (MULTIPART["content-type"], multipart(png(), png())),
    (STRANGE_CHARSET, multipart(png())),
    *((f"image/{kind}", pictures.encoded(kind)) for kind in ("jpeg", "gif", "bmp", "webp")),
]
MEDIA_TYPES = [media_type for media_type, _ in GOOD]
MEDIA_TYPES += ["application/octet-stream", "application/xml", "multipart/form-data"]
FRAGMENTS = [b"{", b"}", b"[", b"]", b",", b":", b'"instances"', b'"b64"', b'"aGk="', b"\xff", b'"\xff"', b"1", b"null"]
FRAGMENTS += [b"--", BOUNDARY.encode(), b"\r\n", b"Content-Disposition: form-data; ", b'name="file"', b"; filename=x"]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good body with some bytes changed, cut out or put in, under its own content type."""
    media_type, good = draw(st.sampled_from(GOOD))
    body = bytearray(good)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        body[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return media_type, bytes(body)


NONSENSE = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join))
REQUESTS = st.one_of(damaged(), st.tuples(st.sampled_from(MEDIA_TYPES), NONSENSE))


def every_error(base: type[ModelyardError] = ModelyardError) -> list[type[ModelyardError]]:
    return [base, *(deeper for error in base.__subclasses__() for deeper in every_error(error))]


@pytest.mark.parametrize("error", every_error())
def test_every_error_of_the_tree_has_a_status(error: type[ModelyardError]) -> None:
    status, code = status_of(error("why"))
    if error is ModelyardError or error in OFFLINE:
        assert (status, code) == (500, "internal")
    else:
        assert (status, code) == STATUS[error]


def test_an_error_that_is_not_listed_takes_the_row_of_its_base() -> None:
    class WrongColour(BadInput):
        pass

    assert status_of(WrongColour("too blue")) == STATUS[BadInput]


@pytest.mark.parametrize("message", ["plain", 'quotes " and \\', "Käse 猫", "\ud800 half a character", "\0"])
def test_any_message_fits_into_the_one_shape(message: str) -> None:
    response = error_response(400, "bad_input", message)
    body = json.loads(bytes(response.body))
    assert body.keys() == {"error", "code"}
    assert response.media_type == "application/json"


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_not_allowed_and_the_right_one_is_named(client: httpx.Client, method: str) -> None:
    response = client.request(method, CLASSIFY)
    assert f"{method} {CLASSIFY}" in error_of(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1/classify/now", "/v1", "/%ff%00", "/../etc/passwd", "//evil/"])
def test_an_unknown_path_is_not_found(client: httpx.Client, path: str) -> None:
    assert "/docs" in error_of(client.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/classify/", "/v1/models/"])
def test_a_slash_too_many_is_told_and_not_silently_redirected(client: httpx.Client, path: str) -> None:
    error_of(client.post(path, content=png()), 404, "not_found")


@pytest.mark.usefixtures("still_answers")
def test_whatever_is_sent_is_answered_or_refused_in_the_one_shape(client: httpx.Client) -> None:
    codes = {400: "bad_input", 413: "input_too_large", 415: "unsupported_media"}

    @settings(max_examples=300, derandomize=True, deadline=None, database=None)
    @given(request=REQUESTS)
    def holds(request: tuple[str, bytes]) -> None:
        media_type, body = request
        response = client.post(CLASSIFY, content=body, headers={"content-type": media_type})
        if response.status_code == 200:
            assert response.json()["predictions"]
        else:
            assert response.status_code in codes, response.text
            error_of(response, response.status_code, codes[response.status_code])

    holds()


def answer_of(app: FastAPI, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    return asyncio.run(ask())


@pytest.fixture
def failing_app() -> FastAPI:
    """An application whose routes go wrong in every way that the handlers know."""
    app = FastAPI()
    errors.install(app)

    @app.get("/unforeseen")
    async def unforeseen() -> None:
        raise ZeroDivisionError("a secret of the server")

    @app.get("/foreseen")
    async def foreseen() -> None:
        raise tree.RuntimeFailed("the engine broke")

    @app.get("/typed")
    async def typed(number: int) -> int:
        return number

    return app


def test_an_unforeseen_error_tells_the_client_nothing_of_the_inside(failing_app: FastAPI) -> None:
    message = error_of(answer_of(failing_app, "/unforeseen"), 500, "internal")
    assert message == "GET /unforeseen failed; the server's log says why"


def test_an_error_of_ours_is_told_as_it_is(failing_app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    assert error_of(answer_of(failing_app, "/foreseen"), 500, "runtime_failed") == "the engine broke"
    assert "the engine broke" in caplog.text


@pytest.mark.parametrize("query", ["", "?number=abc"])
def test_the_frameworks_own_validation_has_the_same_shape(failing_app: FastAPI, query: str) -> None:
    message = error_of(answer_of(failing_app, f"/typed{query}"), 400, "bad_input")
    assert "query.number" in message
