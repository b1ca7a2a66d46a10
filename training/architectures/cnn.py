"""A plain convolutional network: stages of two 3x3 convolutions, halving the picture and widening, then an average.

The VGG pattern (Simonyan and Zisserman 2014) with batch normalisation and a global average in place of dense layers.
"""

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn

from bundle.preprocess import ImageResize
from training.architectures.architecture import ArchitectureConfig


class CnnConfig(ArchitectureConfig):
    """One stage a width; the picture is halved between stages."""

    architecture: Literal["cnn"] = "cnn"
    tasks: ClassVar[tuple[str, ...]] = ("image-classification",)
    channels: tuple[PositiveInt, ...] = Field(default=(32, 64, 128), min_length=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    def build(self, preprocess: ImageResize, num_outputs: int) -> nn.Module:
        """float [batch, channels, height, width] -> logits [batch, num_outputs]."""
        return Cnn(self, preprocess.channels, num_outputs)

    @classmethod
    def tiny(cls) -> Self:
        """Two stages of four and eight channels."""
        return cls(channels=(4, 8))


class Cnn(nn.Module):
    """Any picture size of at least 2 ** (stages - 1) pixels a side."""

    def __init__(self, config: CnnConfig, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for i, (narrow, wide) in enumerate(pairwise((in_channels, *config.channels))):
            pool = [nn.MaxPool2d(2)] if i else []
            stages.append(nn.Sequential(*pool, _convolution(narrow, wide), _convolution(wide, wide)))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.channels[-1], num_outputs))

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """float [batch, channels, height, width] -> logits [batch, num_outputs]."""
        # A mean over both axes: pooling and flattening a channels-last tensor exports as a strided Gather.
        return self.head(self.stages(batch_NCHW).mean(dim=(2, 3)))


def _convolution(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())
