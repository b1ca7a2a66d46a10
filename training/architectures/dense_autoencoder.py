"""A fully connected autoencoder of series: narrow in the middle, so that only what is common in training gets through.

The pattern of Hinton and Salakhutdinov 2006; with the default widths the network of the well-known ECG tutorial.
"""

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn

from bundle.preprocess import Series
from training.architectures.architecture import ArchitectureConfig

FARTHEST = 100.0  # standard deviations: beyond, farther off says nothing more, and squares stay far from overflow


class DenseAutoencoderConfig(ArchitectureConfig):
    """Widths of the encoder's layers; the decoder mirrors them."""

    architecture: Literal["dense_autoencoder"] = "dense_autoencoder"
    tasks: ClassVar[tuple[str, ...]] = ("series-anomaly-detection",)
    widths: tuple[PositiveInt, ...] = Field(default=(32, 16, 8), min_length=1)
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of the noise that training adds to what is reconstructed without it (Vincent et al. 2008)."""

    def build(self, preprocess: Series, num_outputs: int) -> nn.Module:
        """float [batch, steps] -> squared error of the reconstruction, float [batch, steps]."""
        return DenseAutoencoder(self, preprocess.num_steps)

    @classmethod
    def tiny(cls) -> Self:
        """Two layers each way."""
        return cls(widths=(8, 4), noise=0.1)


class DenseAutoencoder(nn.Module):
    """Rectified linear units between the layers, none behind the last."""

    def __init__(self, config: DenseAutoencoderConfig, num_steps: int) -> None:
        super().__init__()
        self.noise = config.noise
        there = (num_steps, *config.widths)
        layers: list[nn.Module] = []
        for narrow, wide in [*pairwise(there), *pairwise(there[::-1])]:
            layers += [nn.Linear(narrow, wide), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """float [batch, steps] -> how far each step is from its reconstruction, squared, float [batch, steps]."""
        series = series.clamp(-FARTHEST, FARTHEST)
        noisy = series + self.noise * torch.randn_like(series) if self.training and self.noise else series
        return (self.layers(noisy) - series).square()
