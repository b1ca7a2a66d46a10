"""SST-2, the Stanford sentiment treebank with two classes, whole sentences: English film reviews (Socher et al. 2013).

Its own split; the release of GLUE has phrases as well and keeps its test labels to itself.
"""

from typing import Literal

from training.data.fetch import fetch
from training.data.samples import DataConfig, Splits
from training.data.texts import Texts, read_tab_separated


class Sst2(DataConfig):
    """The three files as they are; dev is the validation split."""

    dataset: Literal["sst2"] = "sst2"

    def load(self) -> Splits:
        """6,920 train, 872 validation and 1,821 test sentences; tokenised and lower case."""
        folder = fetch("sst2")

        def split(name: str) -> Texts:
            return read_tab_separated(folder / f"{name}.tsv", text=0, label=1, num_columns=2, header=False)

        return Splits(
            labels=("negative", "positive"), train=split("train"), test=split("test"), validation=split("dev")
        )
