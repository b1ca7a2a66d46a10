"""A configuration fits together, or says what does not."""

import pytest

pytest.importorskip("torch", reason="training needs torch")

from pydantic import ValidationError

from bundle.preprocess import TextTokens
from tests.training.tiny import tiny_config
from training.architectures.cnn import CnnConfig
from training.config import TrainConfig
from training.tokenizer import Tokenizer


def refusal(**changes: object) -> str:
    values = tiny_config().model_dump() | changes
    with pytest.raises(ValidationError) as error:
        TrainConfig.model_validate(values)
    return str(error.value)


def test_an_architecture_that_is_not_for_the_task_is_refused_with_the_tasks_it_is_for() -> None:
    said = refusal(task="object-detection")
    assert "architecture 'cnn' is for image-classification" in said
    assert "not for 'object-detection'" in said


def test_every_task_of_an_architecture_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CnnConfig, "tasks", ("image-classification", "object-detection"))
    values = tiny_config().model_dump() | {"task": "object-detection"}
    assert TrainConfig.model_validate(values).task == "object-detection"


def test_a_tokenizer_for_pictures_is_refused() -> None:
    assert "a tokenizer belongs to texts" in refusal(tokenizer=Tokenizer().model_dump())


def test_texts_without_a_tokenizer_are_refused() -> None:
    texts = TextTokens(vocab_size=100, max_tokens=16)
    assert "texts need one; preprocess is 'text-tokens'" in refusal(preprocess=texts.model_dump())


def test_an_architecture_nobody_knows_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Exception, match=r"architecture 'nope' is not known; known are .*cnn"):
        TrainConfig.model_validate(tiny_config().model_dump() | {"model": {"architecture": "nope"}})
