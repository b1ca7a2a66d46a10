"""The smallest training configuration that still learns something."""

from typing import Any

from training.architectures.cnn import CnnConfig
from training.config import TrainConfig
from training.recipes import load_recipe


def tiny_config(**changes: Any) -> TrainConfig:
    """digits_cnn with a small network and few epochs; dropout and shifts stay on, so randomness is exercised."""
    small = {"model": CnnConfig(channels=(8, 16), dropout=0.2), "num_epochs": 3}
    return load_recipe("digits_cnn")().model_copy(update=small | changes)
