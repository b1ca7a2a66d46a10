"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 28x28 grey pictures of clothes, 60,000 train and 10,000 test."""

from typing import Literal

from training.data.fetch import fetch
from training.data.idx import read_idx
from training.data.samples import ArrayImages, DataConfig, Splits

LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class FashionMnist(DataConfig):
    """The four original files."""

    dataset: Literal["fashion-mnist"] = "fashion-mnist"

    def load(self) -> Splits:
        """Fetch what is not there, check it, and read it."""
        folder = fetch("fashion-mnist")
        train, test = (
            ArrayImages(
                read_idx(folder / f"{part}-images-idx3-ubyte.gz"), read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
            )
            for part in ("train", "t10k")
        )
        return Splits(labels=LABELS, train=train, test=test)
