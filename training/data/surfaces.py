"""Pictures of surfaces with their kind (good, or a kind of defect) and, where one is known, the defect's mask.

Knows files and masks. Knows nothing of networks or of any one data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bundle.errors import DataError
from bundle.tensors import Array
from training.data.samples import MEDIA_TYPES, Samples

MASK_LEVEL = 128


@dataclass(frozen=True)
class Surface:
    """What a picture shows."""

    kind: str
    mask_png: bytes = b""
    """Grey PNG of the picture's size, white where the defect is; empty where there is none, or none is known."""

    def mask(self, height_px: int, width_px: int) -> Array:
        """bool [height_px, width_px] of the defect.

        Raises:
            DataError: the mask is of another size than the picture, or no picture at all.
        """
        if not self.mask_png:
            return np.zeros((height_px, width_px), bool)
        mask_HW = cv2.imdecode(np.frombuffer(self.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask_HW is None:
            raise DataError(
                f"the mask of a picture of kind '{self.kind}' is not a picture ({len(self.mask_png)} bytes)"
            )
        if mask_HW.shape != (height_px, width_px):
            size = f"{mask_HW.shape[1]} x {mask_HW.shape[0]}"
            raise DataError(f"the mask of a '{self.kind}' is {size} pixels, its picture {width_px} x {height_px}")
        return mask_HW >= MASK_LEVEL


@dataclass(frozen=True)
class SurfaceFiles:
    """Pictures in files, given out byte for byte; `masks` holds a mask's file where one is known."""

    paths: Sequence[Path]
    kinds: Sequence[str]
    masks: Sequence[Path | None]

    def __len__(self) -> int:
        return len(self.paths)

    def raw(self, index: int) -> bytes:
        """The file's bytes."""
        return self.paths[index].read_bytes()

    def media_type(self, index: int) -> str:
        """By the file's suffix."""
        return MEDIA_TYPES[self.paths[index].suffix.lower()]

    def target(self, index: int) -> Surface:
        """Kind and mask."""
        path = self.masks[index]
        return Surface(self.kinds[index], b"" if path is None else path.read_bytes())

    def stratum(self, index: int) -> int:
        """Number of the kind, in alphabetical order."""
        return sorted(set(self.kinds)).index(self.kinds[index])

    def name(self, index: int) -> str:
        """The file."""
        return str(self.paths[index])


def surface_files(folder: Path, kind: str, masks: Path | None = None) -> SurfaceFiles:
    """All pictures of a folder as one kind; a picture's mask is the file in `masks` whose name begins as its own.

    Raises:
        DataError: no such folder, no pictures in it, or a picture without its mask.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in MEDIA_TYPES]
    if not paths:
        raise DataError(f"{folder}: holds no pictures ({', '.join(MEDIA_TYPES)})")
    found = [None if masks is None else _mask_of(path, masks) for path in paths]
    return SurfaceFiles(paths, [kind] * len(paths), found)


def _mask_of(path: Path, masks: Path) -> Path:
    for name in (f"{path.stem}.png", f"{path.stem}_mask.png"):  # the second is MVTec's way
        if (masks / name).is_file():
            return masks / name
    raise DataError(f"{path}: its mask is missing; expected {masks / path.stem}.png or {path.stem}_mask.png")


@dataclass(frozen=True)
class Joined:
    """Several sets of samples, one after the other."""

    parts: Sequence[Samples]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def raw(self, index: int) -> bytes:
        """The encoded input."""
        samples, i = self._find(index)
        return samples.raw(i)

    def media_type(self, index: int) -> str:
        """What the encoded input is."""
        samples, i = self._find(index)
        return samples.media_type(i)

    def target(self, index: int) -> Surface:
        """Kind and mask."""
        samples, i = self._find(index)
        target: Surface = samples.target(i)
        return target

    def stratum(self, index: int) -> int:
        """Number of the part."""
        return next(i for i, end in enumerate(self._ends()) if index < end)

    def name(self, index: int) -> str:
        """Where to find it."""
        samples, i = self._find(index)
        return samples.name(i)

    def _ends(self) -> list[int]:
        return np.cumsum([len(part) for part in self.parts]).tolist()

    def _find(self, index: int) -> tuple[Samples, int]:
        part = self.stratum(index)
        return self.parts[part], index - (self._ends()[part - 1] if part else 0)


@dataclass(frozen=True)
class SurfaceArrays:
    """Pictures held as arrays, uint8 [n, height, width] grey, with masks bool of the same shape; given out as PNG."""

    images: Array
    kinds: Sequence[str]
    masks: Array

    def __len__(self) -> int:
        return len(self.images)

    def raw(self, index: int) -> bytes:
        """The picture as PNG, which loses nothing."""
        return encode_png(self.images[index])

    def media_type(self, index: int) -> str:
        """Always PNG."""
        return "image/png"

    def target(self, index: int) -> Surface:
        """Kind and mask."""
        mask_HW = self.masks[index]
        return Surface(self.kinds[index], encode_png(mask_HW.astype(np.uint8) * 255) if mask_HW.any() else b"")

    def stratum(self, index: int) -> int:
        """Number of the kind, in alphabetical order."""
        return sorted(set(self.kinds)).index(self.kinds[index])

    def name(self, index: int) -> str:
        """Its place in the array."""
        return f"{self.kinds[index]} {index}"


def encode_png(image: Array) -> bytes:
    """uint8 [height, width] grey or [height, width, 3] BGR -> PNG."""
    _, png = cv2.imencode(".png", image)
    return png.tobytes()
