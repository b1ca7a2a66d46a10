"""A folder with COCO's JSON: one file a split, pictures anywhere below.

Knows folders; the format is bundle/coco.py. Knows nothing of detectors.
"""

from pathlib import Path
from typing import Literal

from bundle.coco import boxes_by_image, read_document
from bundle.errors import DataError
from training.data.boxes import RawBox, RawPicture, labels_of, make_samples, split
from training.data.samples import DataConfig, Splits

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


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
    try:
        document = read_document(path.read_bytes(), str(path))
    except OSError as cause:
        raise DataError(f"{path}: cannot be read: {cause.strerror}") from None
    boxes = boxes_by_image(document, str(path))
    pictures = []
    for i, image in enumerate(document.images):
        where = f"{path}: images[{i}]"
        found = tuple(RawBox(*box) for box in boxes[image.id])
        pictures.append(RawPicture(_find(folder, path, image.file_name, where), found, where))
    return pictures


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
