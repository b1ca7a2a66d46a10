"""NSMC, the Naver sentiment movie corpus: Korean film reviews, negative or positive.

40,000 train and 10,000 test reviews, drawn afresh from github.com/e9t/nsmc by its own rule: the rows are not those of
the published split, so published figures are comparable in kind, not in the last digit.
"""

from typing import Literal

from training.data.fetch import fetch
from training.data.samples import DataConfig, Splits
from training.data.texts import Texts, read_tab_separated


class Nsmc(DataConfig):
    """The two files as they are; a share of train is held out to choose on."""

    dataset: Literal["nsmc"] = "nsmc"

    def load(self) -> Splits:
        """40,000 train and 10,000 test reviews, both classes alike."""
        folder = fetch("nsmc")

        def split(name: str) -> Texts:
            return read_tab_separated(folder / f"ratings_{name}.txt", text=1, label=2, num_columns=3, header=True)

        return Splits(labels=("negative", "positive"), train=split("train"), test=split("test"))
