"""Pictures with a mask each, in folders: images/NAME.jpg beside masks/NAME.png, whose values are class ids.

FOLDER/images and FOLDER/masks, of which a share is held out for the test; or FOLDER/train/images ..., FOLDER/test,
optionally FOLDER/val. FOLDER/classes.csv (columns id, name) names the classes; without it every id found is one.
Knows folders and PNG. Knows nothing of networks or losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from bundle.errors import BadInput, DataError
from bundle.masks import VOID_NAMES, read_class_names, read_ids
from bundle.preprocess import Limits
from bundle.preprocess.image import read_header
from bundle.tasks.segmentation import VOID
from bundle.tensors import Array
from training.data.samples import MEDIA_TYPES, DataConfig, Samples, Splits, hold_out

MIN_SAMPLES = 10  # of fewer, what is held out says nothing
TEST_SEED = 20260105  # fixed apart from the run's seed: another seed must not change what is tested
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class MaskFolder(DataConfig):
    """A folder of one's own."""

    dataset: Literal["mask-folder"] = "mask-folder"
    folder: Path
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the pictures held out for the test, where the folder has no test part."""

    def load(self) -> Splits:
        """Read every mask and every picture's header; pictures are decoded when they are needed."""
        return read_mask_folder(self.folder, self.test_share)


@dataclass(frozen=True)
class FileMasks:
    """Pictures in files, given out byte for byte, each with the mask in another file."""

    paths: Sequence[Path]
    masks: Sequence[Path]
    index_by_id: Array
    """uint8 [256]: class index of each mask value, 255 where it is void."""

    def __len__(self) -> int:
        return len(self.paths)

    def raw(self, index: int) -> bytes:
        """The file's bytes."""
        return self.paths[index].read_bytes()

    def media_type(self, index: int) -> str:
        """By the file's suffix."""
        return MEDIA_TYPES[self.paths[index].suffix.lower()]

    def target(self, index: int) -> Array:
        """Class indices, uint8 [height, width]; 255 is void."""
        return self.index_by_id[read_mask(self.masks[index])]

    def name(self, index: int) -> str:
        """The file."""
        return str(self.paths[index])

    def stratum(self, index: int) -> int:
        """A picture holds many classes: none to keep in proportion."""
        return 0


def read_mask_folder(folder: Path, test_share: float) -> Splits:
    """Find the parts, pair pictures with masks, and check every pair.

    Raises:
        DataError: names the file that is missing, unreadable, of another size, or holds ids that mean nothing.
    """
    parts = {part: _pairs(folder / part) for part in ("train", "val", "test") if (folder / part).is_dir()}
    if "train" in parts and "test" not in parts:
        raise DataError(f"{folder}: there is a train part and no test part; add {folder}/test/images and /masks")
    if not parts:
        parts = {"all": _pairs(folder)}
    names = _read_classes(folder / "classes.csv")
    found = {mask: _check_pair(path, mask, names) for pairs in parts.values() for path, mask in pairs}
    seen = set[int]().union(*found.values())
    labels, index_by_id = _classes(folder, names, seen)
    samples = {part: _samples(pairs, index_by_id) for part, pairs in parts.items()}
    first = samples.get("all", samples.get("train"))
    if first is None or len(first) < MIN_SAMPLES:
        raise DataError(f"{folder}: {len(first or ())} pictures to train with; at least {MIN_SAMPLES} are needed")
    if "all" in samples:
        train, test = hold_out(first, test_share, TEST_SEED)
        return _splits(folder, labels, train, test, None)
    return _splits(folder, labels, first, samples["test"], samples.get("val"))


def read_mask(path: Path) -> Array:
    """The values of a mask file, uint8 [height, width].

    Raises:
        DataError: unreadable, more than 8 bits, or colours.
    """
    try:
        return read_ids(path.read_bytes(), str(path))
    except OSError as cause:
        raise DataError(f"{path}: cannot be read as a mask: {cause}") from None


def _samples(pairs: list[tuple[Path, Path]], index_by_id: Array) -> FileMasks:
    return FileMasks([path for path, _ in pairs], [mask for _, mask in pairs], index_by_id)


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Pictures and their masks, by name."""
    pictures = _files(folder / "images")
    masks = _files(folder / "masks")
    alone = sorted(set(pictures) - set(masks))
    if alone:
        raise DataError(f"{pictures[alone[0]]}: has no mask {folder}/masks/{alone[0]}.png{_others(alone)}")
    orphans = sorted(set(masks) - set(pictures))
    if orphans:
        raise DataError(f"{masks[orphans[0]]}: has no picture {folder}/images/{orphans[0]}.*{_others(orphans)}")
    if not pictures:
        raise DataError(f"{folder}/images: no pictures ({', '.join(MEDIA_TYPES)})")
    return [(pictures[stem], masks[stem]) for stem in sorted(pictures)]


def _files(folder: Path) -> dict[str, Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in MEDIA_TYPES)
    except OSError as cause:
        raise DataError(
            f"{folder}: cannot be read: {cause.strerror}; expected images/NAME.jpg and masks/NAME.png"
        ) from None
    by_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_stem:
            raise DataError(f"{path}: of the same name as {by_stem[path.stem]}; a mask is found by its picture's name")
        by_stem[path.stem] = path
    return by_stem


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""


def _read_classes(path: Path) -> dict[int, str] | None:
    """Names by id, or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return read_class_names(path.read_bytes(), str(path))
    except OSError as cause:
        raise DataError(f"{path}: cannot be read: {cause}") from None


def _check_pair(path: Path, mask: Path, names: dict[int, str] | None) -> set[int]:
    """Sizes and ids of one pair; gives the ids."""
    try:
        header = read_header(path.read_bytes(), Limits())
    except BadInput as cause:
        raise DataError(f"{path}: {cause}") from None
    size = (header.width_px, header.height_px)
    upright = size[::-1] if header.orientation in SIDEWAYS else size
    ids_HW = read_mask(mask)
    if ids_HW.shape[::-1] != upright:
        raise DataError(
            f"{mask}: {ids_HW.shape[1]} x {ids_HW.shape[0]} pixels; "
            f"its picture {path.name} is {upright[0]} x {upright[1]}"
        )
    ids = set(np.unique(ids_HW).tolist())
    strangers = sorted(ids - set(names) - {VOID}) if names is not None else []
    if strangers:
        raise DataError(f"{mask}: holds ids {', '.join(map(str, strangers))}, which classes.csv does not name")
    return ids


def _classes(folder: Path, names: dict[int, str] | None, seen: set[int]) -> tuple[tuple[str, ...], Array]:
    """Labels in the order of their ids, and the class index of every id."""
    named = names if names is not None else {identity: str(identity) for identity in seen - {VOID}}
    used = {i: name for i, name in sorted(named.items()) if name.casefold() not in VOID_NAMES}
    if len(used) < 2 or len(seen & set(used)) < 2:
        only = ", ".join(used[i] for i in sorted(seen & set(used))) or "none"
        hint = "; 255 is void unless classes.csv names it" if VOID in seen and VOID not in used else ""
        raise DataError(f"{folder}: the masks hold one class only ({only}); segmentation needs at least 2{hint}")
    if len(used) > VOID:
        raise DataError(f"{folder}: {len(used)} classes; a mask of 8 bits holds {VOID} and void")
    index_by_id = np.full(256, VOID, np.uint8)
    index_by_id[list(used)] = np.arange(len(used))
    return tuple(used.values()), index_by_id


def _splits(folder: Path, labels: tuple[str, ...], train: Samples, test: Samples, val: Samples | None) -> Splits:
    if not len(test):
        raise DataError(f"{folder}: nothing is held out for the test; raise test_share")
    return Splits(labels=labels, train=train, test=test, validation=val)
