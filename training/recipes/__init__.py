"""Recipes: functions that return a complete, typed training configuration; a recipe's name is its run's name.

Knows configurations. Knows nothing of how they are carried out.
"""

from collections.abc import Callable
from importlib import import_module

from bundle.errors import RunError
from training.config import TrainConfig

Recipe = Callable[[], TrainConfig]

RECIPES = {
    "digits_cnn": "training.recipes.digits_cnn",
    "fashion_mnist_cnn": "training.recipes.fashion_mnist_cnn",
}
"""Name -> the module that holds a function of this name, imported on use."""


def load_recipe(name: str) -> Recipe:
    """The function behind a recipe's name.

    Raises:
        RunError: no such recipe.
    """
    if name not in RECIPES:
        raise RunError(f"recipe '{name}' is not known; known are {', '.join(RECIPES)}")
    recipe: Recipe = getattr(import_module(RECIPES[name]), name)
    return recipe
