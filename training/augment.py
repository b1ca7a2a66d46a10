"""Random changes to normalised training pictures, by kornia; drawn from torch's generator, so a seed repeats them."""

from typing import Any, cast

from kornia.augmentation import AugmentationSequential, RandomCrop, RandomHorizontalFlip
from torch import nn

from training.config import Augment


def build_augment(config: Augment, height_px: int, width_px: int) -> nn.Module | None:
    """A module float [batch, channels, height, width] -> the same, or None where nothing is to be changed."""
    steps: list[Any] = []
    if config.flip:
        steps.append(RandomHorizontalFlip())
    if config.shift_px:
        steps.append(RandomCrop((height_px, width_px), padding=config.shift_px))
    return cast(nn.Module, AugmentationSequential(*steps, data_keys=["input"])) if steps else None
