"""Recipes: functions that return a complete, typed training configuration; a recipe's name is its run's name.

Knows configurations. Knows nothing of how they are carried out.
"""

from collections.abc import Callable

from bundle.errors import RunError
from bundle.tables import entry
from training.config import TrainConfig

Recipe = Callable[[], TrainConfig]

RECIPES = {
    "digits_cnn": "training.recipes.digits_cnn:digits_cnn",
    "fashion_mnist_cnn": "training.recipes.fashion_mnist_cnn:fashion_mnist_cnn",
}
"""Name -> "module:function", imported on use."""


def load_recipe(name: str) -> Recipe:
    """The function behind a recipe's name.

    Raises:
        RunError: no such recipe.
    """
    recipe: Recipe = entry(RECIPES, name, "recipe", RunError)
    return recipe
