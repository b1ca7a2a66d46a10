"""A convolutional autoencoder of pictures: what it cannot rebuild from a narrow code was not in the training pictures.

The usual baseline of anomaly detection (as in Bergmann et al. 2019), with strided convolutions down and
nearest-neighbour enlargement up.
"""

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn

from bundle.errors import RunError
from bundle.preprocess import ImageResize
from training.architectures.architecture import ArchitectureConfig

SMOOTH_PX = 5  # single pixels of grain are always off; defects are larger


class ConvAutoencoderConfig(ArchitectureConfig):
    """One halving a width; the last width is the code's, at the smallest size."""

    architecture: Literal["conv_autoencoder"] = "conv_autoencoder"
    tasks: ClassVar[tuple[str, ...]] = ("anomaly-detection",)
    channels: tuple[PositiveInt, ...] = Field(default=(16, 32, 64, 32, 8), min_length=2)

    def build(self, preprocess: ImageResize, num_outputs: int) -> nn.Module:
        """float [batch, channels, height, width] -> squared error of the reconstruction, float [batch, height, width].

        Raises:
            RunError: a side of the picture cannot be halved that often.
        """
        factor = 2 ** len(self.channels)
        if preprocess.height_px % factor or preprocess.width_px % factor:
            size = f"{preprocess.height_px} x {preprocess.width_px}"
            raise RunError(
                f"pictures of {size} pixels cannot be halved {len(self.channels)} times; use multiples of {factor}"
            )
        return ConvAutoencoder(self, preprocess.channels)

    @classmethod
    def tiny(cls) -> Self:
        """Two halvings."""
        return cls(channels=(4, 8))


class ConvAutoencoder(nn.Module):
    """Sides must be multiples of 2 ** halvings."""

    def __init__(self, config: ConvAutoencoderConfig, in_channels: int) -> None:
        super().__init__()
        widths = config.channels
        down = [_down(narrow, wide) for narrow, wide in pairwise((in_channels, *widths[:-1]))]
        code = nn.Conv2d(widths[-2], widths[-1], 3, stride=2, padding=1)
        up = [_up(wide, narrow) for wide, narrow in pairwise(widths[::-1])]
        last = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(widths[0], in_channels, 3, padding=1))
        self.encoder = nn.Sequential(*down, code)
        self.decoder = nn.Sequential(*up, last)

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """float [batch, channels, height, width] -> squared errors, averaged over channels and 5 x 5 pixels."""
        missed_NCHW = self.decoder(self.encoder(batch_NCHW)) - batch_NCHW
        error_NCHW = (missed_NCHW * missed_NCHW).mean(1, keepdim=True)
        return nn.functional.avg_pool2d(error_NCHW, SMOOTH_PX, 1, SMOOTH_PX // 2, count_include_pad=False)[:, 0]


def _down(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())


def _up(wide: int, narrow: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(wide, narrow, 3, padding=1, bias=False),
        nn.BatchNorm2d(narrow),
        nn.ReLU(),
    )
