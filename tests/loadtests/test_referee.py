"""The referee gives the service's answers, so that both are checked alike and neither wins by leaving work out."""

from pathlib import Path

import httpx
import pytest

from bundle.store import Bundle, open_bundle
from bundle.tensors import Array, Tensors, TensorSpec
from loadtests import referee
from loadtests.questions import document, questions
from loadtests.server import ready, start_echo, start_referee, start_service
from loadtests.stop import stop_under_load
from runtime.predictor import load_predictor
from tests.builders import picture, png
from tests.serving.embedder import write_fake_embedder


def test_both_servers_give_the_same_bytes_and_the_echo_their_number(fake_bundle: Bundle, tmp_path: Path) -> None:
    expected = [document(load_predictor(fake_bundle), png(seed=seed)) for seed in range(3)]
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "fake").write_bytes(expected[0])
    service = start_service(fake_bundle.folder.parent.parent)
    other, echo = start_referee([fake_bundle.folder], "--workers", "2"), start_echo(answers)
    with ready(service, other, echo), httpx.Client(trust_env=False) as client:
        for seed, body in enumerate(expected):
            ours = client.post(f"http://127.0.0.1:{service.port}/v1/classify", content=png(seed=seed))
            theirs = client.post(f"http://127.0.0.1:{other.port}/fake", content=png(seed=seed))
            assert (ours.status_code, theirs.status_code) == (200, 200)
            assert ours.content == theirs.content == body
            assert theirs.headers["content-type"] == ours.headers["content-type"]
        assert client.post(f"http://127.0.0.1:{echo.port}/fake", content=png()).content == expected[0]
        assert min(service.ready_s, other.ready_s, echo.ready_s) > 0
        assert other.rss_bytes() > echo.rss_bytes() > 0
    assert service.process.returncode == 0


def test_what_is_written_by_hand_answers_as_the_predictor(tiny_bundle: Bundle) -> None:
    predictor = load_predictor(tiny_bundle)
    answer = referee.load(tiny_bundle.folder)
    for sample in tiny_bundle.golden():
        assert answer(sample.raw) == document(predictor, sample.raw)
    with pytest.raises(ValueError, match="not a picture"):
        answer(b"nonsense")


class _Session:
    """What the referee asks of an onnxruntime session, over the fake runtime."""

    def __init__(self, bundle: Bundle) -> None:
        self._runtime = load_predictor(bundle).runtime

    def get_inputs(self) -> tuple[TensorSpec, ...]:
        return self._runtime.inputs

    def run(self, _: None, rows: Tensors) -> list[Array]:
        return list(self._runtime.run(rows).values())


@pytest.mark.parametrize("text", ["good film", "film", "bad " * 30, "안녕 🙂 film", "good"])
def test_texts_split_by_hand_are_embedded_as_by_the_predictor(text: str, tmp_path: Path) -> None:
    bundle = open_bundle(write_fake_embedder(tmp_path))
    answer = referee.embed_texts(bundle.folder, bundle.manifest.model_dump(mode="json"), _Session(bundle))
    assert answer(text.encode()) == document(load_predictor(bundle), text.encode())


@pytest.mark.parametrize("raw", [png(), png(picture(1, 8, 8)), png(picture(2, 50, 9))])
def test_pictures_decoded_by_hand_are_classified_as_by_the_predictor(raw: bytes, fake_bundle: Bundle) -> None:
    answer = referee.classify_pictures(
        fake_bundle.folder, fake_bundle.manifest.model_dump(mode="json"), _Session(fake_bundle)
    )
    assert answer(raw) == document(load_predictor(fake_bundle), raw)


def test_a_request_at_the_time_of_the_signal_is_answered(fake_bundle: Bundle) -> None:
    model = fake_bundle.folder.parent
    service = start_service(model.parent)
    service.wait_until_ready()
    seen = stop_under_load(service, questions(model).golden, connections=8, loaded_s=0.5)
    assert (seen.lost, seen.wrong, seen.exit_code) == ((), 0, 0), service.output()
    assert seen.answered > 8
