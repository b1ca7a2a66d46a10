"""Good pictures with defects painted on them: as samples to choose on, and as an augmentation to learn from.

Knows training/data/defects.py, samples and torch. Knows nothing of networks or losses.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn

from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tensors import Array
from training.data.defects import KINDS, paint_defects
from training.data.samples import Samples
from training.data.surfaces import Surface, encode_png

PAINTED = "painted "
SEED_RANGE = 2**31
ATTEMPTS = 20


@dataclass(frozen=True)
class PaintedSamples:
    """Every good picture once with each of `copies` kinds of defect, kinds in turn; the same ones at every call."""

    good: Samples
    copies: int
    seed: int

    def __len__(self) -> int:
        return len(self.good) * self.copies

    def raw(self, index: int) -> bytes:
        """The painted picture as PNG."""
        image_HWC, _ = self._paint(index)
        return encode_png(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))

    def media_type(self, index: int) -> str:
        """Always PNG."""
        return "image/png"

    def target(self, index: int) -> Surface:
        """The kind that was painted, and where."""
        _, mask_HW = self._paint(index)
        return Surface(PAINTED + self._kind(index), encode_png(mask_HW.astype(np.uint8) * 255))

    def stratum(self, index: int) -> int:
        """Number of the kind."""
        return list(KINDS).index(self._kind(index))

    def name(self, index: int) -> str:
        """The picture below the paint."""
        return f"{self.good.name(index % len(self.good))} with a painted {self._kind(index)}"

    def _kind(self, index: int) -> str:
        turn, place = divmod(index, len(self.good))
        return list(KINDS)[(turn + place) % len(KINDS)]

    def _paint(self, index: int) -> tuple[Array, Array]:
        image_HWC = read_image(self.good.raw(index % len(self.good)), Limits())
        rng = np.random.default_rng((self.seed, index))
        for _ in range(ATTEMPTS):
            painted_HWC, mask_HW = paint_defects(rng, image_HWC.astype(np.float32), (self._kind(index),), (1, 1))
            if mask_HW.any():  # a crack may begin at the rim and leave at once
                break
        return np.rint(np.clip(painted_HWC, 0, 255)).astype(np.uint8), mask_HW


class PaintDefects(nn.Module):
    """Paint one or two defects on a share of a batch, after the moves of whole pictures, if there are any."""

    def __init__(self, share: float, moves: nn.Module | None) -> None:
        super().__init__()
        self._share = share
        self._moves = moves

    def forward(self, batch_NCHW: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float [batch, channels, height, width], int64 [batch, height, width] -> the same two, painted and marked."""
        if self._moves is not None:
            batch_NCHW, targets = self._moves(batch_NCHW, targets)
        batch_NCHW, targets = batch_NCHW.clone(), targets.clone()
        seeds = torch.randint(SEED_RANGE, (len(batch_NCHW),))
        for i in (torch.rand(len(batch_NCHW)) < self._share).nonzero()[:, 0].tolist():
            image_HWC = np.ascontiguousarray(batch_NCHW[i].permute(1, 2, 0).cpu().numpy())
            painted_HWC, mask_HW = paint_defects(np.random.default_rng(int(seeds[i])), image_HWC, tuple(KINDS), (1, 2))
            batch_NCHW[i] = torch.from_numpy(painted_HWC).permute(2, 0, 1)
            targets[i][torch.from_numpy(mask_HW).to(targets.device)] = 1
        return batch_NCHW, targets
