"""A network that learns to mark defects painted on good pictures, and so finds real ones that it has never seen.

A strided encoder, and a feature pyramid (Lin et al. 2017) that carries its depth back to half the picture's
resolution by additions. Each picture is first brought to mean 0 and deviation 1 by itself: exposure is no defect.
Its output is a deviation as in FCDD (Liznerski et al. 2021): near 0 where all is normal, without upper bound.
"""

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn
from torch.nn import functional

from bundle.errors import RunError
from bundle.preprocess import ImageResize
from training.architectures.architecture import ArchitectureConfig

FLAT = 1e-4  # variance below which a picture has no contrast worth stretching


class DefectFpnConfig(ArchitectureConfig):
    """One halving a width, the first at once."""

    architecture: Literal["defect_fpn"] = "defect_fpn"
    tasks: ClassVar[tuple[str, ...]] = ("anomaly-detection",)
    channels: tuple[PositiveInt, ...] = Field(default=(16, 24, 48, 64, 96), min_length=2)
    pyramid_channels: PositiveInt = 24

    def build(self, preprocess: ImageResize, num_outputs: int) -> nn.Module:
        """float [batch, channels, height, width] -> deviation >= 0, float [batch, height / 2, width / 2].

        Raises:
            RunError: a side of the picture cannot be halved that often.
        """
        factor = 2 ** len(self.channels)
        if preprocess.height_px % factor or preprocess.width_px % factor:
            size = f"{preprocess.height_px} x {preprocess.width_px}"
            raise RunError(
                f"pictures of {size} pixels cannot be halved {len(self.channels)} times; use multiples of {factor}"
            )
        return DefectFpn(self, preprocess.channels)

    @classmethod
    def tiny(cls) -> Self:
        """Two halvings."""
        return cls(channels=(4, 8), pyramid_channels=4)


class DefectFpn(nn.Module):
    """Sides must be multiples of 2 ** halvings."""

    def __init__(self, config: DefectFpnConfig, in_channels: int) -> None:
        super().__init__()
        widths, wide = config.channels, config.pyramid_channels
        first = nn.Sequential(_convolution(in_channels, widths[0], 5, 2), _convolution(widths[0], widths[0]))
        rest = [nn.Sequential(_convolution(a, b, 3, 2), _convolution(b, b)) for a, b in pairwise(widths)]
        self.encoder = nn.ModuleList([first, *rest])
        self.lateral = nn.ModuleList([nn.Conv2d(width, wide, 1) for width in widths])
        self.merge = nn.ModuleList([_convolution(wide, wide) for _ in widths[1:]])
        self.head = nn.Conv2d(wide, 1, 1)

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """float [batch, channels, height, width] -> deviation >= 0, float [batch, height / 2, width / 2]."""
        levels = [_standardised(batch_NCHW)]
        for stage in self.encoder:
            levels.append(stage(levels[-1]))
        sides = [lateral(level) for lateral, level in zip(self.lateral, levels[1:], strict=True)]
        merged = sides.pop()
        for merge in self.merge:
            merged = merge(functional.interpolate(merged, scale_factor=2.0, mode="nearest") + sides.pop())
        return functional.softplus(self.head(merged)[:, 0])


def _standardised(batch_NCHW: torch.Tensor) -> torch.Tensor:
    # From its first pixel on: a picture of one grey is exactly 0, where the rounding of its mean would be stretched.
    shifted = batch_NCHW - batch_NCHW[:, :, :1, :1]
    centred = shifted - shifted.mean(dim=(1, 2, 3), keepdim=True)
    return centred * (centred * centred).mean(dim=(1, 2, 3), keepdim=True).add(FLAT).rsqrt()


def _convolution(narrow: int, wide: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(narrow, wide, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU())
