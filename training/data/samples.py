"""The form of a data set: splits of raw inputs with targets, and what every reader turns its files into."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from bundle.errors import DataError
from bundle.spec import Spec
from bundle.tensors import Array

MEDIA_TYPES = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}


class Samples(Protocol):
    """Raw inputs as a client would send them, each with its target."""

    def __len__(self) -> int: ...

    def raw(self, index: int) -> bytes:
        """The encoded input."""
        ...

    def media_type(self, index: int) -> str:
        """What the encoded input is."""
        ...

    def target(self, index: int) -> Any:
        """What the task should answer, in the task's own form."""
        ...

    def name(self, index: int) -> str:
        """Where to find it, for messages."""
        ...

    def stratum(self, index: int) -> int:
        """What splits and golden samples keep in proportion: the label's index, or 0 where there is nothing such."""
        ...


@dataclass(frozen=True)
class Splits:
    """One data set. Where `validation` is None, a share of train is held out to choose on."""

    labels: tuple[str, ...]
    train: Samples
    test: Samples
    validation: Samples | None = None

    def sha256(self) -> str:
        """Digest over every raw input and target, in order: two runs with the same digest saw the same data."""
        digest = hashlib.sha256(repr(self.labels).encode())
        for samples in filter(None, (self.train, self.validation, self.test)):
            for i in range(len(samples)):
                digest.update(samples.raw(i))
                digest.update(_bytes(samples.target(i)))
        return digest.hexdigest()


def _bytes(target: Any) -> bytes:
    if isinstance(target, np.ndarray):  # whose repr leaves out the middle
        return repr((target.dtype.str, target.shape)).encode() + target.tobytes()
    return repr(target).encode()


class DataConfig(Spec):
    """Which data set, and its arguments; subclasses set `dataset` to their key in DATASETS."""

    dataset: str

    @abstractmethod
    def load(self) -> Splits:
        """Find (or fetch) the files and read them.

        Raises:
            DataError: missing, damaged, or not in the form it claims.
        """


@dataclass(frozen=True)
class ArrayImages:
    """Pictures held as arrays, uint8 [n, height, width] or [n, height, width, 3] (RGB), given out as PNG."""

    images: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.images)

    def raw(self, index: int) -> bytes:
        """The picture as PNG, which loses nothing."""
        image = self.images[index]
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image)
        return png.tobytes()

    def media_type(self, index: int) -> str:
        """Always PNG."""
        return "image/png"

    def target(self, index: int) -> int:
        """Index of the label."""
        return int(self.targets[index])

    def name(self, index: int) -> str:
        """Its place in the array."""
        return f"sample {index}"

    def stratum(self, index: int) -> int:
        """Index of the label."""
        return self.target(index)


@dataclass(frozen=True)
class FileImages:
    """Pictures in files, given out byte for byte."""

    paths: Sequence[Path]
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.paths)

    def raw(self, index: int) -> bytes:
        """The file's bytes."""
        return self.paths[index].read_bytes()

    def media_type(self, index: int) -> str:
        """By the file's suffix."""
        return MEDIA_TYPES[self.paths[index].suffix.lower()]

    def target(self, index: int) -> int:
        """Index of the label."""
        return self.targets[index]

    def name(self, index: int) -> str:
        """The file."""
        return str(self.paths[index])

    def stratum(self, index: int) -> int:
        """Index of the label."""
        return self.target(index)


@dataclass(frozen=True)
class Subset:
    """Some of another split's samples, in the order of `indices`."""

    samples: Samples
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def raw(self, index: int) -> bytes:
        """The encoded input."""
        return self.samples.raw(self.indices[index])

    def media_type(self, index: int) -> str:
        """What the encoded input is."""
        return self.samples.media_type(self.indices[index])

    def target(self, index: int) -> Any:
        """What the task should answer."""
        return self.samples.target(self.indices[index])

    def name(self, index: int) -> str:
        """Where to find it."""
        return self.samples.name(self.indices[index])

    def stratum(self, index: int) -> int:
        """What is kept in proportion."""
        return self.samples.stratum(self.indices[index])


def train_and_validation(splits: Splits, share: float, seed: int) -> tuple[Samples, Samples]:
    """What a run learns from and what it chooses on: the validation split, or a share of train.

    Raises:
        DataError: no label has the two samples that a share can be held out of.
    """
    if splits.validation is not None:
        return splits.train, splits.validation
    train, validation = hold_out(splits.train, share, seed)
    if not len(validation):
        raise DataError(
            f"validation_share {share:g} of {len(splits.train)} train samples holds out none: no label has two samples"
        )
    return train, validation


def hold_out(samples: Samples, share: float, seed: int) -> tuple[Subset, Subset]:
    """Split into (rest, held out) at random, the same share of every stratum.

    Of each, at least one stays in rest, and where there are two, at least one is held out.
    """
    strata = np.array([samples.stratum(i) for i in range(len(samples))])
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        held += members[: min(max(1, round(len(members) * share)), len(members) - 1)].tolist()
    rest = np.setdiff1d(np.arange(len(samples)), held).tolist()
    return Subset(samples, rest), Subset(samples, sorted(held))
