"""Pictures in folders, one folder a class: FOLDER/train/<class>/*, FOLDER/test/<class>/*, optionally FOLDER/val."""

from pathlib import Path
from typing import Literal

from bundle.errors import DataError
from training.data.samples import MEDIA_TYPES, DataConfig, FileImages, Samples, Splits


class ImageFolder(DataConfig):
    """A folder of one's own; labels are the names of the class folders, sorted."""

    dataset: Literal["image-folder"] = "image-folder"
    folder: Path

    def load(self) -> Splits:
        """List the pictures; they are read when they are needed."""
        labels = _classes(self.folder / "train")
        if len(labels) < 2:
            raise DataError(f"{self.folder}/train: {len(labels)} class folder(s); classification needs at least 2")
        validation: Samples | None = None
        if (self.folder / "val").is_dir():
            validation = _split(self.folder / "val", labels)
        train, test = _split(self.folder / "train", labels), _split(self.folder / "test", labels)
        return Splits(labels=labels, train=train, test=test, validation=validation)


def _classes(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    except OSError as cause:
        raise DataError(f"{folder}: cannot be read: {cause.strerror}; expected {folder}/<class>/<picture>") from None


def _split(folder: Path, labels: tuple[str, ...]) -> FileImages:
    strangers = sorted(set(_classes(folder)) - set(labels))
    if strangers:
        raise DataError(f"{folder}: class folders {', '.join(strangers)} are not in train")
    found = [
        (path, target)
        for target, label in enumerate(labels)
        for path in sorted((folder / label).glob("*"))
        if path.suffix.lower() in MEDIA_TYPES
    ]
    missing = [label for target, label in enumerate(labels) if target not in {entry[1] for entry in found}]
    if missing:
        raise DataError(f"{folder}: no pictures ({', '.join(MEDIA_TYPES)}) for class {', '.join(missing)}")
    paths, targets = zip(*found, strict=True)
    return FileImages(paths, targets)
