"""COCO's JSON (Lin et al. 2014): one file a split with `images`, `annotations` and `categories`; bbox is x, y, w, h.

Knows the format. Knows nothing of detectors.
"""

from pathlib import Path
from typing import Literal

import msgspec

from bundle.errors import DataError
from training.data.boxes import RawBox, RawPicture, labels_of, make_samples, split
from training.data.samples import DataConfig, Splits

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
SHAPE = "expected {'images': [{'id', 'file_name'}], 'annotations': [{'image_id', 'category_id', 'bbox'}], 'categories'}"


class Category(msgspec.Struct):
    """One label."""

    id: int
    name: str


class ImageEntry(msgspec.Struct):
    """One picture."""

    id: int
    file_name: str


class Annotation(msgspec.Struct):
    """One box: left, top, width, height in pixels."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class Document(msgspec.Struct):
    """A file; keys that a detector does not need are passed over."""

    images: list[ImageEntry]
    annotations: list[Annotation]
    categories: list[Category]


class CocoFolder(DataConfig):
    """A folder of one's own: FOLDER/annotations/*train*.json (*val*.json, *test*.json), pictures anywhere below FOLDER;
    or FOLDER/<split>/*.json beside its pictures. Without a test file a fifth of train is held out for the test.
    """

    dataset: Literal["coco"] = "coco"
    folder: Path

    def load(self) -> Splits:
        """Read all annotations; pictures are read when they are needed."""
        files = {name: _file(self.folder, name) for name in SPLIT_NAMES}
        if files["train"] is None:
            raise DataError(f"{self.folder}: no annotations/*train*.json and no train/*.json")
        parts = {name: _pictures(self.folder, path) for name, path in files.items() if path is not None}
        labels = labels_of(parts["train"], self.folder)
        samples = {name: make_samples(part, labels, self.folder) for name, part in parts.items()}
        return split(labels, samples["train"], samples.get("test"), samples.get("val"))


def _file(folder: Path, name: str) -> Path | None:
    """The one annotation file of a split; None where there is none."""
    found = [
        path
        for alias in SPLIT_NAMES[name]
        for pattern in (f"annotations/*{alias}*.json", f"{alias}/*.json")
        for path in folder.glob(pattern)
    ]
    different = sorted(set(found))
    if len(different) > 1:
        raise DataError(f"{folder}: {len(different)} files could be the {name} split: {', '.join(map(str, different))}")
    return different[0] if different else None


def _pictures(folder: Path, path: Path) -> list[RawPicture]:
    document = _read(path)
    names = {category.id: category.name for category in document.categories}
    boxes: dict[int, list[RawBox]] = {image.id: [] for image in document.images}
    for i, annotation in enumerate(document.annotations):
        where = f"{path}: annotations[{i}]"
        if annotation.image_id not in boxes:
            raise DataError(f"{where}: image_id {annotation.image_id} is not among the images")
        if annotation.category_id not in names:
            raise DataError(f"{where}: category_id {annotation.category_id} is not among the categories")
        if not annotation.iscrowd:  # a crowd's box is around many things, and teaches nothing about one
            x, y, width, height = annotation.bbox
            label = names[annotation.category_id]
            boxes[annotation.image_id].append(RawBox(label, (x, y, x + width, y + height), where))
    pictures = []
    for i, image in enumerate(document.images):
        where = f"{path}: images[{i}]"
        pictures.append(RawPicture(_find(folder, path, image.file_name, where), tuple(boxes[image.id]), where))
    return pictures


def _read(path: Path) -> Document:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Document)
    except OSError as cause:
        raise DataError(f"{path}: cannot be read: {cause.strerror}") from None
    except msgspec.ValidationError as cause:
        raise DataError(f"{path}: {cause}; {SHAPE}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataError(f"{path}{_line(path, str(cause))}: not JSON: {cause}") from None


def _line(path: Path, message: str) -> str:
    """Where a message names a byte, its line."""
    digits = "".join(filter(str.isdigit, message.rpartition("byte ")[2]))
    if not digits:
        return ""
    lines_before = path.read_bytes()[: int(digits)].count(b"\n")
    return f":{lines_before + 1}"


def _find(folder: Path, annotations: Path, file_name: str, where: str) -> Path:
    """A picture where such folders have them; never one outside the folder."""
    split_folder = annotations.stem.removeprefix("instances_")
    places = (annotations.parent, folder, folder / "images", folder / split_folder, folder / "images" / split_folder)
    inside = folder.resolve()
    for place in places:
        path = place / file_name
        if path.is_file():
            if not path.resolve().is_relative_to(inside):
                raise DataError(f"{where}: '{file_name}' lies outside of {folder}")
            return path
    looked = ", ".join(dict.fromkeys(str(place) for place in places))
    raise DataError(f"{where}: no picture '{file_name}'; looked in {looked}")
