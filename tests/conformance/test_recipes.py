"""Every recipe is complete, named after itself, and survives JSON and the command line."""

import pytest

pytest.importorskip("torch", reason="recipes belong to the training extra")

from training.config import TrainConfig
from training.recipes import RECIPES, load_recipe


@pytest.fixture(params=RECIPES)
def config(request: pytest.FixtureRequest) -> TrainConfig:
    config = load_recipe(request.param)()
    assert config.name == request.param
    return config


def test_survives_json(config: TrainConfig) -> None:
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_says_what_it_is_in_one_line(config: TrainConfig) -> None:
    assert (load_recipe(config.name).__doc__ or "").strip()
