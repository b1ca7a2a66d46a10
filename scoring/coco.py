"""A labelled folder of a store with COCO's JSON: which file it is, and where its pictures lie.

Knows places; the format is bundle/coco.py. Knows nothing of models.
"""

from dataclasses import dataclass

from bundle.coco import boxes_by_image, read_document
from bundle.errors import BadInput, DataError
from scoring.cells import read_file
from scoring.listing import File, listing
from scoring.store import Place

MAX_BYTES = 2 * 2**30


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
    try:
        document = read_document(read_file(where, file.path, MAX_BYTES), name)
    except BadInput as cause:
        raise DataError(str(cause)) from None
    boxes = {
        image: [(box.label, box.box_xyxy) for box in found] for image, found in boxes_by_image(document, name).items()
    }
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
