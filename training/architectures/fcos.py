"""An anchor-free one-stage detector: backbone, feature pyramid, and at every place of every level one candidate box.

After FCOS (Tian et al. 2019): each place answers with class logits and its distances to the four sides of a box. As in
YOLOX (Ge et al. 2021) the head is decoupled, classes and boxes in branches of their own; as in TOOD (Feng et al. 2021)
the class score itself is trained to be the quality of the box, so no centreness or IoU branch is needed.
Convolution, batch normalisation and ReLU only: the form that int8 engines run fastest.
Knows torch. Knows nothing of losses or of how boxes are selected.
"""

import math
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import nn
from torch.nn import functional

from training.architectures.architecture import ArchitectureConfig

FIRST_STRIDE_PX = 8
NUM_STEM_STAGES = 2  # strides 2 and 4: too fine to find objects on, and where most of the time would go
PRIOR = 0.01  # score of an untrained place: the many empty ones do not swamp the first steps (Lin et al. 2017)


class Candidates(NamedTuple):
    """What a detection network answers, before any selection; N places, over all levels, the finest first."""

    logits: torch.Tensor
    """float [batch, N, labels]: how good a box of that label this place has."""
    boxes_xyxy: torch.Tensor
    """float [batch, N, 4]: in 0..1 of the picture; may reach beyond it."""
    points_xy: torch.Tensor
    """float [N, 2]: where the places are, in 0..1 of the picture."""


class FcosConfig(ArchitectureConfig):
    """One stage a width, each halving the picture; the stages of stride 8 and coarser become levels."""

    architecture: Literal["fcos"] = "fcos"
    tasks: ClassVar[tuple[str, ...]] = ("object-detection",)
    channels: tuple[PositiveInt, ...] = Field(default=(16, 32, 64, 128, 128), min_length=3)
    """Width of the backbone's stages of stride 2, 4, 8, ..."""
    depths: tuple[NonNegativeInt, ...] = (0, 1, 1, 1, 1)
    """Residual blocks a stage."""
    neck_channels: int = Field(default=64, ge=1)
    head_depth: int = Field(default=1, ge=0)
    """3x3 convolutions before each of a level's two answers."""

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len(self.depths) != len(self.channels):
            raise ValueError(f"{len(self.channels)} channels and {len(self.depths)} depths; give one of each a stage")
        return self

    def build(self, preprocess: Any, num_outputs: int) -> nn.Module:
        """float [batch, channels, height, width] -> Candidates of `num_outputs` labels."""
        return Fcos(self, preprocess, num_outputs)

    @classmethod
    def tiny(cls) -> Self:
        """One level of stride 8 and one of 16, a few channels."""
        return cls(channels=(4, 8, 8, 8), depths=(0, 0, 1, 1), neck_channels=8, head_depth=1)


class Fcos(nn.Module):
    """Made for one picture size: the places are constants of the graph."""

    def __init__(self, config: FcosConfig, preprocess: Any, num_labels: int) -> None:
        super().__init__()
        widths = (preprocess.channels, *config.channels)
        self.stages = nn.ModuleList(
            _stage(narrow, wide, depth) for (narrow, wide), depth in zip(pairwise(widths), config.depths, strict=True)
        )
        self.neck = Neck(config.channels[NUM_STEM_STAGES:], config.neck_channels)
        self.heads = nn.ModuleList(
            Head(config.neck_channels, config.head_depth, num_labels) for _ in config.channels[NUM_STEM_STAGES:]
        )
        points_px, strides_px = _places(preprocess.height_px, preprocess.width_px, len(self.heads))
        size_px = torch.tensor([preprocess.width_px, preprocess.height_px], dtype=torch.float32)
        self.points_xy: torch.Tensor
        self.steps_xy: torch.Tensor
        self.register_buffer("points_xy", points_px / size_px, persistent=False)
        self.register_buffer("steps_xy", strides_px / size_px, persistent=False)

    def forward(self, batch_NCHW: torch.Tensor) -> Candidates:
        """float [batch, channels, height, width] -> one candidate a place."""
        features = []
        for stage in self.stages:
            batch_NCHW = stage(batch_NCHW)
            features.append(batch_NCHW)
        levels = self.neck(features[NUM_STEM_STAGES:])
        answers = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        logits = torch.cat([_by_place(classes) for classes, _ in answers], dim=1)
        # Softplus keeps a distance positive and, unlike an exponential, cannot overflow.
        distances = functional.softplus(torch.cat([_by_place(sides) for _, sides in answers], dim=1))
        left_top = self.points_xy - distances[..., :2] * self.steps_xy
        right_bottom = self.points_xy + distances[..., 2:] * self.steps_xy
        return Candidates(logits, torch.cat([left_top, right_bottom], dim=-1), self.points_xy)


class Block(nn.Module):
    """Two convolutions around which the input is carried (He et al. 2015)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return functional.relu(batch_NCHW + self.second(self.first(batch_NCHW)))


class Neck(nn.Module):
    """A feature pyramid (Lin et al. 2016): what coarse levels know is added to the finer ones."""

    def __init__(self, channels: tuple[int, ...], neck_channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_convolution(wide, neck_channels, kernel=1) for wide in channels)
        self.smooth = nn.ModuleList(_convolution(neck_channels, neck_channels) for _ in channels)

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Features of each level, the finest first -> the same sizes, `neck_channels` each."""
        levels = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + functional.interpolate(levels[i + 1], size=levels[i].shape[-2:])
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class Head(nn.Module):
    """Classes and boxes of one level, in branches of their own."""

    def __init__(self, channels: int, depth: int, num_labels: int) -> None:
        super().__init__()
        self.classes = _branch(channels, depth, num_labels, bias=-math.log((1 - PRIOR) / PRIOR))
        self.sides = _branch(channels, depth, 4, bias=2.0)  # boxes begin about four places wide

    def forward(self, level_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> class logits [batch, labels, rows, columns], distances before softplus [batch, 4, rows, columns]."""
        return self.classes(level_NCHW), self.sides(level_NCHW)


def _convolution(narrow: int, wide: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(narrow, wide, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU())


def _branch(channels: int, depth: int, num_values: int, bias: float) -> nn.Sequential:
    answer = nn.Conv2d(channels, num_values, 1)
    nn.init.constant_(answer.bias, bias)  # type: ignore[arg-type] # it has one
    return nn.Sequential(*(_convolution(channels, channels) for _ in range(depth)), answer)


def _stage(narrow: int, wide: int, depth: int) -> nn.Sequential:
    return nn.Sequential(_convolution(narrow, wide, stride=2), *(Block(wide) for _ in range(depth)))


def _by_place(level_NCHW: torch.Tensor) -> torch.Tensor:
    """[batch, values, rows, columns] -> [batch, places, values]."""
    return level_NCHW.flatten(2).transpose(1, 2)


def _places(height_px: int, width_px: int, num_levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres [N, 2] (x, y) of all places, and the stride [N, 1] of each, in pixels."""
    points, strides = [], []
    for level in range(num_levels):
        stride_px = FIRST_STRIDE_PX * 2**level
        rows, columns = (math.ceil(side / stride_px) for side in (height_px, width_px))
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        points.append((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride_px)
        strides.append(torch.full((rows * columns, 1), float(stride_px)))
    return torch.cat(points), torch.cat(strides)
