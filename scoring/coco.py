"""Boxes of the truth in COCO's JSON (Lin et al. 2014): `images`, `annotations` and `categories`; bbox is x, y, w, h.

Knows the format and places. Knows nothing of models.
"""

from dataclasses import dataclass

import msgspec

from bundle.errors import BadInput, DataError
from scoring.cells import read_file
from scoring.listing import File, listing
from scoring.store import Place

SHAPE = "expected {'images': [{'id', 'file_name'}], 'annotations': [{'image_id', 'category_id', 'bbox'}], 'categories'}"
MAX_BYTES = 2 * 2**30


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


@dataclass(frozen=True)
class Picture:
    """One picture's path in the store, and its boxes by name: left, top, right, bottom."""

    path: str
    boxes: list[tuple[str, tuple[float, float, float, float]]]


def annotations_in(where: Place) -> File | None:
    """The file itself, or a folder's: *test*.json below annotations/, test/*.json, else the only JSON file there is.

    Raises:
        DataError: several could be meant.
    """
    found = [file for file in listing(where) if file.path.lower().endswith(".json")]
    if [file.path for file in found] == [where.path]:
        return found[0]
    below = [(file, file.path.removeprefix(f"{where.path}/")) for file in found]
    of_test = [file for file, name in below if name.startswith("test/") or "test" in name.rpartition("/")[2]]
    meant = of_test or found
    if len(meant) > 1:
        names = ", ".join(file.path for file in meant[:5])
        raise DataError(f"{where}: {len(meant)} JSON files could be the annotations ({names}); name the one as INPUT")
    return meant[0] if meant else None


def read_coco(where: Place, file: File) -> list[Picture]:
    """All pictures of the file, in its order; a crowd's box is left out, as in training.

    Raises:
        DataError: not COCO's JSON, or a picture that is not there.
    """
    name = where.url(file.path)
    document = _read(where, file)
    names = {category.id: category.name for category in document.categories}
    boxes: dict[int, list[tuple[str, tuple[float, float, float, float]]]] = {one.id: [] for one in document.images}
    for i, one in enumerate(document.annotations):
        if one.image_id not in boxes or one.category_id not in names:
            what = "image_id" if one.image_id not in boxes else "category_id"
            raise DataError(f"{name}: annotations[{i}]: {what} {getattr(one, what)} is not among those of the file")
        if not one.iscrowd:
            x, y, width, height = one.bbox
            boxes[one.image_id].append((names[one.category_id], (x, y, x + width, y + height)))
    folder = file.path.rpartition("/")[0]
    root = where.path if where.path != file.path else folder
    root = root.removesuffix("/annotations")
    there = {one.path for one in listing(Place(where.files, root, where.scheme))}
    return [Picture(_find(image.file_name, file, root, there, name), boxes[image.id]) for image in document.images]


def _find(file_name: str, annotations: File, root: str, there: set[str], name: str) -> str:
    """A picture where such folders have them; only files below the folder are known at all."""
    folder, _, own = annotations.path.rpartition("/")
    split = own.removesuffix(".json").removeprefix("instances_")
    places = (folder, root, f"{root}/images", f"{root}/{split}", f"{root}/images/{split}")
    for place in places:
        if f"{place}/{file_name}" in there:
            return f"{place}/{file_name}"
    looked = ", ".join(dict.fromkeys(places))
    raise DataError(f"{name}: no picture '{file_name}'; looked in {looked}")


def _read(where: Place, file: File) -> Document:
    name = where.url(file.path)
    try:
        return msgspec.json.decode(read_file(where, file.path, MAX_BYTES), type=Document)
    except BadInput as cause:
        raise DataError(str(cause)) from None
    except msgspec.ValidationError as cause:
        raise DataError(f"{name}: {cause}; {SHAPE}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataError(f"{name}: not JSON: {cause}") from None
