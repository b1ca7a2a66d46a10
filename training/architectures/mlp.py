"""A multilayer perceptron: every pixel of a small picture to every unit of the first layer, and so on.

Rosenblatt's perceptron with hidden layers (Rumelhart, Hinton and Williams 1986) and rectified linear units.
"""

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn

from bundle.preprocess import ImageResize
from training.architectures.architecture import ArchitectureConfig


class MlpConfig(ArchitectureConfig):
    """Widths of the hidden layers."""

    architecture: Literal["mlp"] = "mlp"
    tasks: ClassVar[tuple[str, ...]] = ("image-classification",)
    widths: tuple[PositiveInt, ...] = Field(default=(64,), min_length=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, preprocess: ImageResize, num_outputs: int) -> nn.Module:
        """float [batch, channels, height, width] -> logits [batch, num_outputs]."""
        num_inputs = preprocess.channels * preprocess.height_px * preprocess.width_px
        return Mlp(self, num_inputs, num_outputs)

    @classmethod
    def tiny(cls) -> Self:
        """One layer of eight."""
        return cls(widths=(8,))


class Mlp(nn.Module):
    """Pictures of one size only: a weight belongs to a pixel."""

    def __init__(self, config: MlpConfig, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in pairwise((num_inputs, *config.widths)):
            layers += [nn.Linear(narrow, wide), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.widths[-1], num_outputs))

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """float [batch, channels, height, width] -> logits [batch, num_outputs]."""
        return self.head(self.hidden(batch_NCHW.flatten(1)))
