"""Answers under load are held to the artefact's own, of whatever version; rounding is allowed, others are not."""

from pathlib import Path

import msgspec
import pytest

from bundle.store import Bundle, open_bundle
from loadtests.bundles import publish_again
from loadtests.questions import ROUNDING, check, document, questions
from runtime.predictor import Predictor, load_predictor
from tests.builders import png


@pytest.fixture
def predictor(fake_bundle: Bundle) -> Predictor:
    return load_predictor(fake_bundle)


def changed(body: bytes, change: float) -> bytes:
    content = msgspec.json.decode(body)
    content["predictions"][0]["top_k"][1]["score"] += change
    return msgspec.json.encode(content)


def test_the_artefacts_own_answer_is_right(predictor: Predictor) -> None:
    raw = png(seed=5)
    assert check(predictor, raw)(document(predictor, raw)) is None


def test_rounding_is_allowed_and_more_is_not(predictor: Predictor) -> None:
    raw = png(seed=5)
    body = document(predictor, raw)
    assert check(predictor, raw)(changed(body, ROUNDING / 2)) is None
    assert "apart" in str(check(predictor, raw)(changed(body, ROUNDING * 2)))


def test_the_answer_to_another_picture_is_wrong(predictor: Predictor) -> None:
    assert check(predictor, png(seed=5))(document(predictor, png(seed=6))) is not None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model":"fake","version":1,"predictions":[]}', b"<html>"])
def test_what_is_no_answer_is_wrong(predictor: Predictor, body: bytes) -> None:
    assert check(predictor, png())(body) is not None


def test_the_next_version_is_a_bundle_of_its_own_with_the_same_answers(fake_bundle: Bundle) -> None:
    repository = fake_bundle.folder.parent.parent
    again = open_bundle(publish_again(fake_bundle.folder, repository, "fake"))
    assert (again.manifest.version, again.manifest.digest != fake_bundle.manifest.digest) == (2, True)
    raw = png(seed=5)
    assert check(load_predictor(fake_bundle), raw)(document(load_predictor(again), raw)) is None


def test_another_models_answer_is_wrong(fake_bundle: Bundle) -> None:
    repository = fake_bundle.folder.parent.parent
    other = load_predictor(open_bundle(publish_again(fake_bundle.folder, repository, "other")))
    content = msgspec.json.decode(document(other, png()))
    content["predictions"][0]["label"] += "!"
    assert "other" in str(check(load_predictor(fake_bundle), png())(msgspec.json.encode(content)))


def test_questions_are_the_golden_inputs_with_their_answers(fake_bundle: Bundle) -> None:
    asked = questions(Path(fake_bundle.folder).parent)
    assert list(asked.bodies) == [sample.raw for sample in fake_bundle.golden()]
    assert asked.answer == document(load_predictor(fake_bundle), asked.bodies[0])
    first = asked.golden[0].check
    assert first is not None
    assert first(asked.answer) is None
    target = asked.service(1234, "X-Request-Timeout-Ms: 5")
    assert (target.port, target.path, target.header) == (1234, "/v1/classify?model=fake", "X-Request-Timeout-Ms: 5")
    assert asked.plain(1234).path == "/fake"
    moved = asked.checked("/fake", "X-Request-Timeout-Ms: 5")
    assert moved[0].wire.startswith(b"POST /fake HTTP/1.1\r\n")
    assert moved[0].wire.endswith(b"X-Request-Timeout-Ms: 5\r\n\r\n" + asked.bodies[0])
