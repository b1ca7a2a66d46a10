"""Random changes to normalised training pictures, and the same change to what is drawn on them: masks, boxes.

All moves of a picture (mirror, zoom, turn, shift) are one affine map, so its pixels are interpolated once. What comes
in from outside is 0, the mean of the data, and void (-1) in a mask. Every number is drawn from torch's generator, so a
seed repeats it. Knows torch and the settings. Knows nothing of tasks or losses.
"""

import math
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from training.config import Augment

Targets = Literal["label", "mask", "boxes"]
VOID = -1
MIN_VISIBLE_SHARE = 0.25  # of a box that is cut more, what stays is seldom recognisable


def build_augment(config: Augment, height_px: int, width_px: int, targets: Targets = "label") -> nn.Module | None:
    """A module (batch_NCHW, targets) -> the same two, changed; or None where nothing is to be changed.

    `batch_NCHW` is normalised float [batch, channels, height_px, width_px]. `targets` by their kind:
    label: anything, returned as it is; mask: int64 [batch, height_px, width_px], -1 is void;
    boxes: float [batch, rows, 5] = (label, x0, y0, x1, y1) in shares of the side, rows of label -1 are padding.
    """
    if config == Augment():
        return None
    return RandomChange(config, height_px, width_px, targets)


class RandomChange(nn.Module):
    """Brightness and contrast, then one affine map a picture."""

    def __init__(self, config: Augment, height_px: int, width_px: int, targets: Targets) -> None:
        super().__init__()
        self._config = config
        self._height_px, self._width_px = height_px, width_px
        self._moves = config.model_copy(update={"brightness": 0.0, "contrast": 0.0}) != Augment()
        self._move_targets = {"label": _same, "mask": _move_masks, "boxes": _move_boxes}[targets]

    def forward(self, batch_NCHW: torch.Tensor, targets: Any) -> tuple[torch.Tensor, Any]:
        """Every picture is changed in its own way."""
        batch_NCHW = _change_light(batch_NCHW, self._config.brightness, self._config.contrast)
        if not self._moves:
            return batch_NCHW, targets
        forth = self._draw_map(len(batch_NCHW)).to(batch_NCHW.device)
        back = torch.linalg.inv(forth)
        grid = functional.affine_grid(back[:, :2], list(batch_NCHW.shape), align_corners=False)
        moved_NCHW = functional.grid_sample(batch_NCHW, grid, mode="bilinear", align_corners=False)
        return moved_NCHW, self._move_targets(targets, forth, grid)

    def _draw_map(self, num: int) -> torch.Tensor:
        """Affine maps [num, 3, 3] from where content is to where it goes; both sides run from -1 to 1."""
        config = self._config
        low, high = (math.log(factor) for factor in config.scale)
        zoom = torch.exp(torch.empty(num).uniform_(low, high))  # twice as large is as likely as half as large
        turn = _either_way(num) * math.radians(config.rotate_deg)
        mirror_x, mirror_y = _sign(num, config.flip), _sign(num, config.flip_vertical)
        aspect = self._width_px / self._height_px  # a turn is a turn in pixels, not in shares of unlike sides
        cos, sin = zoom * torch.cos(turn), zoom * torch.sin(turn)
        forth = torch.zeros(num, 3, 3)
        forth[:, 0, 0], forth[:, 0, 1] = cos * mirror_x, -sin / aspect * mirror_y
        forth[:, 1, 0], forth[:, 1, 1] = sin * aspect * mirror_x, cos * mirror_y
        # A window of a zoomed-in picture lies anywhere in it, a zoomed-out picture anywhere in its frame.
        room = (zoom - 1).abs()
        forth[:, 0, 2] = _either_way(num) * room + _whole_px(num, config.shift_px) * 2 / self._width_px
        forth[:, 1, 2] = _either_way(num) * room + _whole_px(num, config.shift_px) * 2 / self._height_px
        forth[:, 2, 2] = 1
        return forth


def _change_light(batch_NCHW: torch.Tensor, brightness: float, contrast: float) -> torch.Tensor:
    if not brightness and not contrast:
        return batch_NCHW
    num, device = len(batch_NCHW), batch_NCHW.device
    gain = (1 + contrast * _either_way(num)).to(device).view(-1, 1, 1, 1)
    lift = (brightness * _either_way(num)).to(device).view(-1, 1, 1, 1)
    mean = batch_NCHW.mean(dim=(1, 2, 3), keepdim=True)
    return (batch_NCHW - mean) * gain + mean + lift


def _either_way(num: int) -> torch.Tensor:
    return torch.rand(num) * 2 - 1


def _sign(num: int, mirrored: bool) -> torch.Tensor:
    """-1 for half of the pictures where mirrored, else 1 for all."""
    return torch.where((torch.rand(num) < 0.5) & mirrored, -1.0, 1.0)


def _whole_px(num: int, most_px: int) -> torch.Tensor:
    """Whole pixels: small pictures stay as sharp as they are."""
    return torch.randint(-most_px, most_px + 1, (num,)).float()


def _same(targets: Any, forth: torch.Tensor, grid: torch.Tensor) -> Any:
    return targets


def _move_masks(mask_NHW: torch.Tensor, forth: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Nearest, so no class appears that was not there; shifted by one, so that the 0 from outside becomes void."""
    shifted = (mask_NHW - VOID).float()[:, None]
    return functional.grid_sample(shifted, grid, mode="nearest", align_corners=False)[:, 0].round().long() + VOID


def _move_boxes(boxes: torch.Tensor, forth: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """The upright box around each moved box, cut to the picture; dropped where less than a quarter of it stays."""
    label, x0, y0, x1, y1 = boxes.unbind(-1)
    corners = torch.stack([torch.stack([x, y], -1) for x in (x0, x1) for y in (y0, y1)], -2) * 2 - 1
    moved = corners @ forth[:, None, :2, :2].mT + forth[:, None, None, :2, 2]
    around = (moved + 1) / 2
    low, high = around.amin(-2), around.amax(-2)
    cut_low, cut_high = low.clamp(0, 1), high.clamp(0, 1)
    area, cut_area = (high - low).prod(-1), (cut_high - cut_low).prod(-1)
    stays = (label >= 0) & (cut_area >= MIN_VISIBLE_SHARE * area) & (cut_area > 0)
    kept = torch.cat([label[..., None], cut_low, cut_high], -1)
    padding = torch.zeros_like(kept)
    padding[..., 0] = -1
    return torch.where(stays[..., None], kept, padding)
