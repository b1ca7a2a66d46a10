"""ResNet with basic blocks (He et al. 2015): two 3x3 convolutions and a way around them; ResNet-18 by default.

For pictures of a hundred pixels a side and more: the first layers halve them twice before any block sees them.
"""

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn
from torch.nn import functional

from bundle.preprocess import ImageResize
from training.architectures.architecture import ArchitectureConfig


class ResnetConfig(ArchitectureConfig):
    """One stage a width, each of so many blocks; every stage but the first halves the picture."""

    architecture: Literal["resnet"] = "resnet"
    tasks: ClassVar[tuple[str, ...]] = ("image-classification",)
    channels: tuple[PositiveInt, ...] = Field(default=(64, 128, 256, 512), min_length=1)
    blocks: tuple[PositiveInt, ...] = (2, 2, 2, 2)

    @model_validator(mode="after")
    def _one_depth_a_width(self) -> Self:
        if len(self.blocks) != len(self.channels):
            raise ValueError(f"blocks {self.blocks} and channels {self.channels} have to be as many, one a stage")
        return self

    def build(self, preprocess: ImageResize, num_outputs: int) -> nn.Module:
        """float [batch, channels, height, width] -> logits [batch, num_outputs]."""
        return Resnet(self, preprocess.channels, num_outputs)

    @classmethod
    def tiny(cls) -> Self:
        """Two stages of one block."""
        return cls(channels=(4, 8), blocks=(1, 1))


class Resnet(nn.Module):
    """Any picture size."""

    def __init__(self, config: ResnetConfig, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        first, last = config.channels[0], config.channels[-1]
        self.entrance = nn.Sequential(
            nn.Conv2d(in_channels, first, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        blocks: list[nn.Module] = []
        for i, (narrow, wide) in enumerate(pairwise((first, *config.channels))):
            blocks.append(Block(narrow, wide, stride=2 if i else 1))
            blocks += [Block(wide, wide, stride=1) for _ in range(config.blocks[i] - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(last, num_outputs)

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """float [batch, channels, height, width] -> logits [batch, num_outputs]."""
        # A mean over both axes: pooling and flattening a channels-last tensor exports as a strided Gather.
        return self.head(self.blocks(self.entrance(batch_NCHW)).mean(dim=(2, 3)))


class Block(nn.Module):
    """What the two convolutions add to their input; where its shape changes, a 1x1 convolution takes it along."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.there = nn.Sequential(_convolution(narrow, wide, 3, stride), nn.ReLU(), _convolution(wide, wide, 3, 1))
        around = stride == 1 and narrow == wide
        self.around = nn.Identity() if around else _convolution(narrow, wide, 1, stride)

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """float [batch, narrow, height, width] -> float [batch, wide, height / stride, width / stride]."""
        return functional.relu(self.there(batch_NCHW) + self.around(batch_NCHW))


def _convolution(narrow: int, wide: int, size: int, stride: int) -> nn.Sequential:
    padding = size // 2
    return nn.Sequential(nn.Conv2d(narrow, wide, size, stride, padding, bias=False), nn.BatchNorm2d(wide))
