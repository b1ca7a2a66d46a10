"""Pictures in files with boxes in them: what every reader of box annotations makes of what it read, and checks.

Knows files and boxes. Knows no format of annotations.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.errors import BadInput, DataError
from bundle.preprocess import ImageSource, Limits
from bundle.preprocess.image import read_header, upright_source
from training.data.samples import MEDIA_TYPES, Samples, Splits, hold_out

Box = tuple[int, float, float, float, float]
"""(index of the label, x0, y0, x1, y1) in pixels of the picture, upright."""

TEST_SHARE = 0.2  # where a data set has no test split of its own
TEST_SEED = 20260105  # fixed apart from the run's seed: another seed must not change what is tested
MAX_OVERHANG_PX = 2.0  # annotations that count from 1, or round, reach beyond the edge by so much


@dataclass(frozen=True)
class RawBox:
    """A box as it was read, unchecked."""

    label: str
    xyxy: tuple[float, float, float, float]
    where: str
    """File and line, for messages."""


@dataclass(frozen=True)
class RawPicture:
    """A picture's file and what was read of it."""

    path: Path
    boxes: tuple[RawBox, ...]
    where: str
    """The annotation that names it, for messages."""


@dataclass(frozen=True)
class BoxImages:
    """Pictures given out byte for byte, each with a tuple of `Box`."""

    paths: Sequence[Path]
    targets: Sequence[tuple[Box, ...]]

    def __len__(self) -> int:
        return len(self.paths)

    def raw(self, index: int) -> bytes:
        """The file's bytes."""
        return self.paths[index].read_bytes()

    def media_type(self, index: int) -> str:
        """By the file's suffix."""
        return MEDIA_TYPES[self.paths[index].suffix.lower()]

    def target(self, index: int) -> tuple[Box, ...]:
        """The boxes, in pixels."""
        return self.targets[index]

    def name(self, index: int) -> str:
        """The file."""
        return str(self.paths[index])

    def stratum(self, index: int) -> int:
        """All pictures count as alike: most hold several labels."""
        return 0


def labels_of(pictures: Sequence[RawPicture], source: Path) -> tuple[str, ...]:
    """The labels of all boxes, sorted.

    Raises:
        DataError: there is not one box.
    """
    labels = tuple(sorted({box.label for picture in pictures for box in picture.boxes}))
    if not labels:
        raise DataError(f"{source}: {len(pictures)} pictures and not one box in them; a detector needs boxes to learn")
    return labels


def make_samples(pictures: Sequence[RawPicture], labels: tuple[str, ...], source: Path) -> BoxImages:
    """Check every picture and box; boxes are cut to their picture, empty ones dropped, with a note to standard error.

    Raises:
        DataError: no picture at all; a picture that is missing or no picture; a label that is not among `labels`;
            a box turned inside out or far outside its picture.
    """
    if not pictures:
        raise DataError(f"{source}: no pictures are listed")
    indices = {label: i for i, label in enumerate(labels)}
    empty: list[str] = []
    targets = [_target(picture, indices, empty) for picture in pictures]
    if empty:
        shown = ", ".join(empty[:3]) + (" ..." if len(empty) > 3 else "")
        print(f"{source}: {len(empty)} empty box(es) left out: {shown}", file=sys.stderr)
    return BoxImages([picture.path for picture in pictures], targets)


def split(labels: tuple[str, ...], train: Samples, test: Samples | None, validation: Samples | None) -> Splits:
    """The splits of a data set; where it has no test split, a fifth of train is held out, the same one every time.

    Raises:
        DataError: too few pictures to hold any out.
    """
    if test is None:
        train, test = hold_out(train, TEST_SHARE, TEST_SEED)
        if not len(test):
            raise DataError(f"{len(train)} picture(s) and no test split: too few to hold any out")
    return Splits(labels=labels, train=train, test=test, validation=validation)


def picture_size(path: Path, where: str) -> ImageSource:
    """Height and width in pixels, upright; nothing is decoded.

    Raises:
        DataError: missing, or no picture that is read here.
    """
    if path.suffix.lower() not in MEDIA_TYPES:
        raise DataError(f"{where}: names '{path.name}'; pictures end in {', '.join(MEDIA_TYPES)}")
    try:
        return upright_source(read_header(path.read_bytes(), Limits()))
    except OSError as cause:
        raise DataError(f"{where}: names {path}, which cannot be read: {cause.strerror}") from None
    except BadInput as cause:
        raise DataError(f"{path}: {cause}") from None


def _target(picture: RawPicture, indices: dict[str, int], empty: list[str]) -> tuple[Box, ...]:
    size = picture_size(picture.path, picture.where)
    boxes = []
    for box in picture.boxes:
        if box.label not in indices:
            raise DataError(f"{box.where}: label '{box.label}' is not among those of train: {', '.join(indices)}")
        x0, y0, x1, y1 = _inside(box, size)
        if x0 == x1 or y0 == y1:
            empty.append(box.where)
        else:
            boxes.append((indices[box.label], x0, y0, x1, y1))
    return tuple(boxes)


def _inside(box: RawBox, size: ImageSource) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box.xyxy
    if x0 > x1 or y0 > y1:
        raise DataError(f"{box.where}: the box {list(box.xyxy)} is turned inside out (left, top, right, bottom)")
    overhang = max(-x0, -y0, x1 - size.width_px, y1 - size.height_px)
    if overhang > MAX_OVERHANG_PX:
        raise DataError(
            f"{box.where}: the box {list(box.xyxy)} reaches {overhang:g} pixels beyond its picture, "
            f"which is {size.width_px} x {size.height_px}; was the picture resized or turned without its boxes?"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(size.width_px)), min(y1, float(size.height_px))
