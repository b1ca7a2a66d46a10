"""Pictures in folders, one folder a label: FOLDER/<label>/*, or FOLDER/train/<label>/* with FOLDER/test and FOLDER/val.

Where there is no test folder, a share of every label is held out, once, apart from the run's seed.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from bundle.errors import DataError
from training.data.samples import MEDIA_TYPES, DataConfig, FileImages, Samples, Splits, hold_out

TEST_SEED = 20260103  # another seed of a run must not change what is tested
MIN_PICTURES = 3  # of a label: one each to learn from, to choose on, to test


class ImageFolder(DataConfig):
    """A folder of one's own; labels are the names of the folders, sorted."""

    dataset: Literal["image-folder"] = "image-folder"
    folder: Path
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the pictures that is the test split, where the folder has no test folder."""

    def load(self) -> Splits:
        """List the pictures; they are read when they are needed."""
        train_folder = self.folder / "train" if (self.folder / "train").is_dir() else self.folder
        labels = _labels(train_folder)
        train: Samples = _split(train_folder, labels)
        if train_folder == self.folder:
            _check_enough(train_folder, train, labels)
            train, test = hold_out(train, self.test_share, TEST_SEED)
            return Splits(labels=labels, train=train, test=test)
        validation = _split(self.folder / "val", labels) if (self.folder / "val").is_dir() else None
        return Splits(labels=labels, train=train, test=_split(self.folder / "test", labels), validation=validation)


def _labels(folder: Path) -> tuple[str, ...]:
    labels = _folders(folder)
    if len(labels) < 2:
        found = f"one, '{labels[0]}'" if labels else "none"
        raise DataError(
            f"{folder}: a folder for each of at least 2 labels is expected, with its pictures in it; found {found}"
        )
    return labels


def _folders(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(
            sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        )
    except OSError as cause:
        raise DataError(f"{folder}: cannot be read: {cause.strerror}; expected {folder}/<label>/<picture>") from None


def _split(folder: Path, labels: tuple[str, ...]) -> FileImages:
    strangers = sorted(set(_folders(folder)) - set(labels))
    if strangers:
        raise DataError(f"{folder}: label folders {', '.join(strangers)} are not in train")
    found = [
        (path, target)
        for target, label in enumerate(labels)
        for path in sorted((folder / label).glob("*"))
        if path.suffix.lower() in MEDIA_TYPES
    ]
    missing = [label for target, label in enumerate(labels) if target not in {entry[1] for entry in found}]
    if missing:
        raise DataError(f"{folder}: no pictures ({', '.join(MEDIA_TYPES)}) for label {', '.join(missing)}")
    paths, targets = zip(*found, strict=True)
    return FileImages(paths, targets)


def _check_enough(folder: Path, samples: Samples, labels: tuple[str, ...]) -> None:
    strata = [samples.stratum(i) for i in range(len(samples))]
    for target, label in enumerate(labels):
        count = strata.count(target)
        if count < MIN_PICTURES:
            raise DataError(
                f"{folder / label}: {count} picture(s); at least {MIN_PICTURES} are needed, to learn from, to choose "
                "on and to test"
            )
