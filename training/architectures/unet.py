"""A compact U-Net: strided convolutions down, bilinear upsampling and skip connections up.

Ronneberger, Fischer and Brox 2015, with batch normalisation, padding, a stem that halves the picture at once, one
convolution a level on the way up, and logits enlarged to the picture's size at the end: a tenth of the arithmetic.
"""

from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn
from torch.nn import functional

from training.architectures.architecture import ArchitectureConfig


class UnetConfig(ArchitectureConfig):
    """One level a width; each level halves the picture, the first included."""

    architecture: Literal["unet"] = "unet"
    tasks: ClassVar[tuple[str, ...]] = ("image-segmentation",)
    channels: tuple[PositiveInt, ...] = Field(default=(32, 48, 96, 128, 160), min_length=2)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the deepest level's and of the head's channels that are left out in a training step."""

    def build(self, preprocess: Any, num_outputs: int) -> nn.Module:
        """float [batch, channels, height, width] -> logits [batch, num_outputs, height, width]."""
        return Unet(self, preprocess.channels, num_outputs)

    @classmethod
    def tiny(cls) -> Self:
        """Two levels of four and eight channels."""
        return cls(channels=(4, 8))


class Unet(nn.Module):
    """Any picture size."""

    def __init__(self, config: UnetConfig, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        widths = config.channels
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(narrow, wide, stride=2), _convolution(wide, wide))
            for narrow, wide in pairwise((in_channels, *widths))
        )
        self.up = nn.ModuleList(
            _convolution(deep + skip, skip) for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.dropout = nn.Dropout2d(config.dropout)
        self.head = nn.Conv2d(widths[0], num_outputs, 1)

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """float [batch, channels, height, width] -> logits [batch, num_outputs, height, width]."""
        features = batch_NCHW
        skips: list[torch.Tensor] = []
        for down in self.down:
            features = down(features)
            skips.append(features)
        features = self.dropout(skips.pop())
        for up in self.up:
            skip = skips.pop()
            features = up(torch.cat([_enlarge(features, skip), skip], dim=1))
        return _enlarge(self.head(self.dropout(features)), batch_NCHW)


def _enlarge(features: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features, size=to.shape[2:], mode="bilinear", align_corners=False)


def _convolution(narrow: int, wide: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(narrow, wide, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(wide), nn.ReLU())
