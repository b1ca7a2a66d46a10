"""Boxes in COCO's JSON (Lin et al. 2014): `images`, `annotations` and `categories`; bbox is x, y, w, h.

Knows the format. Knows nothing of where files lie, of training or of answers.
"""

from typing import NamedTuple

import msgspec

from bundle.errors import DataError

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


class Box(NamedTuple):
    """One box of the truth: left, top, right, bottom in pixels, and where in the file it stands."""

    label: str
    box_xyxy: tuple[float, float, float, float]
    where: str


def read_document(content: bytes, name: str) -> Document:
    """Parse a file's content; `name` is the file's, for messages.

    Raises:
        DataError: not COCO's JSON, with the line where that can be told.
    """
    try:
        return msgspec.json.decode(content, type=Document)
    except msgspec.ValidationError as cause:
        raise DataError(f"{name}: {cause}; {SHAPE}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataError(f"{name}{_line(content, str(cause))}: not JSON: {cause}") from None


def boxes_by_image(document: Document, name: str) -> dict[int, list[Box]]:
    """Boxes of every picture, by its id; a crowd's box is left out: it is around many things, and tells of none.

    Raises:
        DataError: an annotation of a picture or a category that the file does not have.
    """
    names = {category.id: category.name for category in document.categories}
    boxes: dict[int, list[Box]] = {image.id: [] for image in document.images}
    for i, annotation in enumerate(document.annotations):
        where = f"{name}: annotations[{i}]"
        if annotation.image_id not in boxes:
            raise DataError(f"{where}: image_id {annotation.image_id} is not among the images")
        if annotation.category_id not in names:
            raise DataError(f"{where}: category_id {annotation.category_id} is not among the categories")
        if not annotation.iscrowd:
            x, y, width, height = annotation.bbox
            boxes[annotation.image_id].append(Box(names[annotation.category_id], (x, y, x + width, y + height), where))
    return boxes


def _line(content: bytes, message: str) -> str:
    """Where a message names a byte, its line."""
    digits = "".join(filter(str.isdigit, message.rpartition("byte ")[2]))
    return f":{content[: int(digits)].count(bytes([10])) + 1}" if digits else ""
