"""Pictures that are unusual, broken or hostile; the plain ones are in tests/builders.py."""

import io
import struct
import zlib
from typing import Any

from PIL import Image

from tests.builders import picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def encoded(picture_format: str, mode: str = "RGB", seed: int = 0, **options: Any) -> bytes:
    """The picture of a seed as a file of any format and colour mode."""
    file = io.BytesIO()
    Image.fromarray(picture(seed)).convert(mode).save(file, picture_format, **options)
    return file.getvalue()


def animated_gif() -> bytes:
    """Two frames, the first of seed 0."""
    return encoded("GIF", save_all=True, append_images=[Image.fromarray(picture(1))], duration=100)


def single_pixel_png() -> bytes:
    """1 x 1 pixel."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def truncated_jpeg() -> bytes:
    """A JPEG whose last pixels are missing, as a broken upload leaves it."""
    return encoded("JPEG")[:-20]


def damaged_png() -> bytes:
    """A PNG with one wrong bit in its pixels, as a bad disk leaves it."""
    damaged = bytearray(encoded("PNG"))
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


def jpeg_with_damaged_exif() -> bytes:
    """A good JPEG whose EXIF data promise five entries and hold none."""
    return encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")


def png_header(width_px: int, height_px: int) -> bytes:
    """A PNG of a few bytes that claims a size and holds no pixels."""
    return SIGNATURE + _ihdr(width_px, height_px) + END


def png_with_chunk_length(claimed_bytes: int) -> bytes:
    """A PNG of a few bytes whose pixel chunk claims to be as long as given."""
    pixels = zlib.compress(bytes((3 * 16 + 1) * 12))
    return SIGNATURE + _ihdr(16, 12) + struct.pack(">I", claimed_bytes) + b"IDAT" + pixels


def _ihdr(width_px: int, height_px: int) -> bytes:
    content = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
