"""BCCD: 364 microscope pictures of stained blood, 640x480, with boxes around red cells, white cells and platelets.

Its own splits: 205 train, 87 validation, 72 test. Not every red cell of a crowded picture is annotated.
"""

from typing import Literal

from training.data.fetch import fetch
from training.data.samples import DataConfig, Splits
from training.data.voc import load_voc


class Bccd(DataConfig):
    """Labels: Platelets, RBC, WBC."""

    dataset: Literal["bccd"] = "bccd"

    def load(self) -> Splits:
        """Fetch what is not there, check it, and read it."""
        return load_voc(fetch("bccd"))
