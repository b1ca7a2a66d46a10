"""`POST /v1/text/embed`: texts in every form that a body may have; the answers of a Predictor in this process."""

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from bundle.store import open_bundle
from runtime.predictor import load_predictor
from serving.settings import Settings
from tests.serving.embedder import DIM, MAX_TOKENS, write_fake_embedder
from tests.serving.running import started
from tests.serving.wire import error_of, predictions_of

EMBED = "/v1/text/embed"
TEXTS = ["good film", "안녕 🙂 film", "bad " * 50]
PLAIN = {"content-type": "text/plain; charset=utf-8"}

pytestmark = pytest.mark.anyio


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_fake_embedder(tmp_path)
    return tmp_path


@pytest.fixture
def expected(repository: Path) -> Any:
    predictor = load_predictor(open_bundle(repository / "embedder" / "1"))
    answers = predictor.predict([text.encode() for text in TEXTS])
    return json.loads(msgspec.json.encode(answers))


async def ask(repository: Path, **request: Any) -> httpx.Response:
    async with started(Settings(repository=repository)) as client:
        return await client.post(EMBED, **request)


async def test_texts_in_json_get_a_vector_each_in_order(repository: Path, expected: Any) -> None:
    got = predictions_of(await ask(repository, json={"instances": TEXTS}))
    assert got == expected
    assert [len(one["embedding"]) for one in got] == [DIM] * 3
    assert [(one["num_tokens"], one["truncated"]) for one in got] == [(2, False), (3, False), (MAX_TOKENS, True)]


async def test_a_text_may_be_the_body_itself(repository: Path, expected: Any) -> None:
    assert predictions_of(await ask(repository, content=TEXTS[1].encode(), headers=PLAIN)) == expected[1:2]


async def test_texts_may_be_files_of_a_form(repository: Path, expected: Any) -> None:
    files = [("file", ("a.txt", text.encode(), "text/plain")) for text in TEXTS]
    assert predictions_of(await ask(repository, files=files)) == expected


@pytest.mark.parametrize("text", ["", "  \n\t "])
async def test_an_empty_text_is_refused(text: str, repository: Path) -> None:
    response = await ask(repository, json={"instances": [text]})
    assert "the text is empty" in error_of(response, 400, "bad_input")


async def test_there_is_nothing_to_choose(repository: Path) -> None:
    response = await ask(repository, json={"instances": TEXTS}, params={"top_k": 1})
    assert "unknown query parameter top_k" in error_of(response, 400, "bad_input")
