"""Encoded pictures of every kind that is read, and what Pillow, a second opinion, sees in them."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

from bundle.preprocess import ImageResize, Limits
from bundle.preprocess.image import prepare_image
from bundle.tensors import Array

HEIGHT_PX, WIDTH_PX = 32, 48
CENTRES = ((8, 12), (8, 36), (24, 12), (24, 36))
"""(row, column) of the middle of each quarter of `quarters()`, far from the edges that lossy formats smear."""
ORIENTATION_TAG = 0x0112


def quarters() -> Image.Image:
    """Red, green, blue and yellow quarters: no turn, mirror or swap of channels gives the same picture."""
    image_HWC = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    image_HWC[:16, :24] = (220, 20, 30)
    image_HWC[:16, 24:] = (20, 200, 40)
    image_HWC[16:, :24] = (30, 40, 210)
    image_HWC[16:, 24:] = (230, 220, 20)
    return Image.fromarray(image_HWC)


def transparent_quarters() -> Image.Image:
    """The quarters, of which the red one is transparent and the yellow one half transparent."""
    alpha_HW = np.full((HEIGHT_PX, WIDTH_PX), 255, np.uint8)
    alpha_HW[:16, :24] = 0
    alpha_HW[16:, 24:] = 128
    return Image.fromarray(np.dstack([np.asarray(quarters()), alpha_HW]))


def encode(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def encode_animation(first: Image.Image, file_format: str, **options: Any) -> bytes:
    """Three frames, the first of them the given picture and the others plain magenta."""
    others = [Image.new(first.mode, first.size, (255, 0, 255))] * 2
    return encode(first, file_format, save_all=True, append_images=others, duration=100, **options)


def encode_pixels(image: Array, suffix: str) -> bytes:
    """OpenCV's encoder: channels are B, G, R(, A), and 16 bits are kept."""
    done, encoded = cv2.imencode(suffix, image)
    assert done
    return encoded.tobytes()


def sixteen_bits(picture: Image.Image) -> Array:
    """The picture in OpenCV's order of channels and 16 bits, in which 65535 is what 255 is in 8."""
    image = np.asarray(picture).astype(np.uint16) * 257
    return image if image.ndim == 2 else image[:, :, [2, 1, 0, 3][: image.shape[2]]]


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def on_white(picture: Image.Image) -> Image.Image:
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def as_pillow_sees_it(raw: bytes) -> Image.Image:
    with Image.open(io.BytesIO(raw)) as picture:
        return on_white(picture)


def png_header(width_px: int, height_px: int) -> bytes:
    """A PNG that claims a size and holds a hundred bytes of pixels."""
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(bytes(100))), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pixels(
    raw: bytes, height_px: int = HEIGHT_PX, width_px: int = WIDTH_PX, color: str = "rgb", limits: Limits | None = None
) -> Array:
    """What the product makes of a picture, by default in the size of the quarters."""
    spec = ImageResize.model_validate({"height_px": height_px, "width_px": width_px, "color": color})
    return prepare_image(spec, raw, limits or Limits()).tensors["image"]


def max_difference(one: Array, other: Array | Image.Image) -> int:
    other = np.asarray(other).reshape(one.shape)
    return int(np.abs(one.astype(np.int32) - other.astype(np.int32)).max())


LOSSLESS = {
    "png": encode(quarters(), "PNG"),
    "png, palette": encode(quarters().quantize(4), "PNG"),
    "webp": encode(quarters(), "WEBP", lossless=True),
    "bmp": encode(quarters(), "BMP"),
    "bmp, palette": encode(quarters().quantize(4), "BMP"),
    "tiff": encode(quarters(), "TIFF"),
    "tiff, lzw": encode(quarters(), "TIFF", compression="tiff_lzw"),
    "tiff, deflate": encode(quarters(), "TIFF", compression="tiff_deflate"),
    "tiff, palette": encode(quarters().quantize(4), "TIFF"),
    "gif": encode(quarters(), "GIF"),
    "gif, animated": encode_animation(quarters(), "GIF"),
    "webp, animated": encode_animation(quarters(), "WEBP", lossless=True),
    "png, animated": encode_animation(quarters(), "PNG"),
    "tiff, many pages": encode(quarters(), "TIFF", save_all=True, append_images=[Image.new("RGB", (48, 32))]),
    "png, 16 bits": encode_pixels(sixteen_bits(quarters()), ".png"),
    "tiff, 16 bits": encode_pixels(sixteen_bits(quarters()), ".tiff"),
}
"""Files that hold the very pixels of `quarters()`."""

LOSSY = {
    "jpeg": encode(quarters(), "JPEG", quality=95),
    "jpeg, progressive": encode(quarters(), "JPEG", quality=95, progressive=True),
    "jpeg, cmyk": encode(quarters().convert("CMYK"), "JPEG", quality=95),
    "jpeg of a camera (mpo)": encode(quarters(), "MPO", quality=95, save_all=True, append_images=[quarters()]),
    "webp, lossy": encode(quarters(), "WEBP", quality=95),
    "tiff, jpeg": encode(quarters(), "TIFF", compression="jpeg", quality=95),
    "tiff, cmyk": encode(quarters().convert("CMYK"), "TIFF"),
}
"""Files that hold the colours of `quarters()` nearly."""

GREY = {
    "png": encode(quarters().convert("L"), "PNG"),
    "jpeg": encode(quarters().convert("L"), "JPEG", quality=95),
    "bmp": encode(quarters().convert("L"), "BMP"),
    "tiff": encode(quarters().convert("L"), "TIFF"),
    "gif": encode(quarters().convert("L"), "GIF"),
    "png, 16 bits": encode_pixels(sixteen_bits(quarters().convert("L")), ".png"),
    "tiff, 16 bits": encode_pixels(sixteen_bits(quarters().convert("L")), ".tiff"),
}
"""Files that hold the brightness of `quarters()` and no colour."""

ONE_BIT = {
    "png": encode(quarters().convert("1"), "PNG"),
    "bmp": encode(quarters().convert("1"), "BMP"),
    "tiff": encode(quarters().convert("1"), "TIFF"),
    "tiff, fax": encode(quarters().convert("1"), "TIFF", compression="group4"),
}
"""Files that hold `quarters()` in black and white."""

TRANSPARENT = {
    "png": encode(transparent_quarters(), "PNG"),
    "png, grey": encode(transparent_quarters().convert("LA"), "PNG"),
    "png, one colour is transparent": encode(quarters(), "PNG", transparency=(220, 20, 30)),
    "png, one grey is transparent": encode(quarters().convert("L"), "PNG", transparency=81),
    "png, palette": encode(quarters().quantize(4), "PNG", transparency=bytes((0, 128, 255, 255))),
    "png, one of the palette": encode(quarters().quantize(4), "PNG", transparency=0),
    "png, animated": encode_animation(transparent_quarters(), "PNG"),
    "webp": encode(transparent_quarters(), "WEBP", lossless=True, exact=True),
    "webp, animated": encode_animation(transparent_quarters(), "WEBP", lossless=True, exact=True),
    "bmp": encode_pixels(np.asarray(transparent_quarters())[:, :, [2, 1, 0, 3]], ".bmp"),
    "tiff": encode(transparent_quarters(), "TIFF"),
    "tiff, lzw": encode(transparent_quarters(), "TIFF", compression="tiff_lzw"),
    "tiff, grey": encode(transparent_quarters().convert("LA"), "TIFF"),
    "gif": encode(quarters().quantize(4), "GIF", transparency=0),
    "gif, animated": encode_animation(transparent_quarters(), "GIF"),
}
"""Files of 8 bits with transparent parts; Pillow reads them too."""

EVERY = {
    **LOSSLESS,
    **LOSSY,
    **{f"grey {name}": raw for name, raw in GREY.items()},
    **{f"black and white {name}": raw for name, raw in ONE_BIT.items()},
    **{f"transparent {name}": raw for name, raw in TRANSPARENT.items()},
}
