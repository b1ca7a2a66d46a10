"""CamVid (Brostow et al. 2009) in the 11-class split of SegNet: road scenes at 240x180; 367 train, 101 val, 117 test.

Void pixels are in neither loss nor figures, as is the custom for this split.
"""

from typing import Literal

from training.data.fetch import fetch
from training.data.mask_folder import read_mask_folder
from training.data.samples import DataConfig, Splits


class CamVid(DataConfig):
    """The mirrored subset: train and val whole, every second test picture."""

    dataset: Literal["camvid"] = "camvid"

    def load(self) -> Splits:
        """Fetch what is not there, check it, and read it."""
        return read_mask_folder(fetch("camvid"), test_share=0.2)
