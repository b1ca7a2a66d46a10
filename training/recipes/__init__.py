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
    "shapes_unet": "training.recipes.shapes_unet:shapes_unet",
    "shapes_detector": "training.recipes.shapes_detector:shapes_detector",
    "scratches_painted": "training.recipes.scratches_painted:scratches_painted",
    "fashion_mnist_cnn": "training.recipes.fashion_mnist_cnn:fashion_mnist_cnn",
    "camvid_unet": "training.recipes.camvid_unet:camvid_unet",
    "bccd_detector": "training.recipes.bccd_detector:bccd_detector",
    "magnetic_tile_autoencoder": "training.recipes.magnetic_tile_autoencoder:magnetic_tile_autoencoder",
    "magnetic_tile_painted": "training.recipes.magnetic_tile_painted:magnetic_tile_painted",
    "ecg5000_autoencoder": "training.recipes.ecg5000_autoencoder:ecg5000_autoencoder",
    "ecg5000_denoising": "training.recipes.ecg5000_denoising:ecg5000_denoising",
    "nsmc_cnn": "training.recipes.nsmc_cnn:nsmc_cnn",
    "sst2_cnn": "training.recipes.sst2_cnn:sst2_cnn",
}
"""Name -> "module:function", imported on use."""


def load_recipe(name: str) -> Recipe:
    """The function behind a recipe's name.

    Raises:
        RunError: no such recipe.
    """
    recipe: Recipe = entry(RECIPES, name, "recipe", RunError)
    return recipe
