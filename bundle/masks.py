"""Masks of the truth as people keep them: pictures whose grey values are ids of classes, and the names of the ids.

Knows PNG and CSV. Knows nothing of folders, models or answers.
"""

import csv
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from bundle.errors import DataError
from bundle.tasks.segmentation import VOID
from bundle.tensors import Array

VOID_NAMES = ("void", "ignore", "ignored", "unlabelled", "unlabeled", "unknown")
"""Names in classes.csv of what nobody said: left out of the loss and of every figure."""


def read_ids(raw: bytes, where: str) -> Array:
    """The values of a mask file, uint8 [height, width]: grey as they are, of a palette the indices.

    Raises:
        DataError: unreadable, more than 8 bits, or colours.
    """
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
        raise DataError(f"{where}: cannot be read as a mask: {cause}") from None
    if mode in ("L", "P", "1"):
        return values.astype(np.uint8)
    if mode == "RGB" and (values == values[..., :1]).all():  # what some tools make of grey
        return values[..., 0]
    what = "colours" if mode in ("RGB", "RGBA", "CMYK") else f"'{mode}' pixels"
    raise DataError(f"{where}: a mask of {what}; expected 8-bit grey (or palette) PNG whose values are class ids")


def read_class_names(raw: bytes, where: str) -> dict[int, str]:
    """classes.csv, columns id (0 to 255) and name: names by id.

    Raises:
        DataError: unreadable, or an id or a name that is none or comes twice.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as cause:
        raise DataError(f"{where}: cannot be read: {cause}") from None
    names: dict[int, str] = {}
    for line, row in enumerate(rows, start=2):
        identity, name = (row.get("id") or "").strip(), (row.get("name") or "").strip()
        if not (identity.isdecimal() and int(identity) <= VOID) or not name:
            raise DataError(f"{where}:{line}: id {identity!r}, name {name!r}; expected columns id (0 to 255) and name")
        if int(identity) in names or name in names.values():
            raise DataError(f"{where}:{line}: id {identity} or name '{name}' is there twice")
        names[int(identity)] = name
    return names
