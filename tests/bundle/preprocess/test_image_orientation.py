"""A picture is taken upright, whatever way the camera was held."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from bundle.preprocess import ImageResize, ImageSource, Limits
from bundle.preprocess.image import prepare_image
from tests.bundle.preprocess.pictures import (
    encode,
    encode_animation,
    max_difference,
    on_white,
    oriented,
    pixels,
    quarters,
    transparent_quarters,
)

LOSSLESS_JPEG = {"quality": 100, "subsampling": 0}
TURNED = {
    "jpeg": lambda exif: encode(quarters(), "JPEG", exif=exif, **LOSSLESS_JPEG),
    "jpeg, cmyk": lambda exif: encode(quarters().convert("CMYK"), "JPEG", exif=exif, quality=100),
    "jpeg, grey": lambda exif: encode(quarters().convert("L"), "JPEG", exif=exif, **LOSSLESS_JPEG),
    "jpeg of a camera (mpo)": lambda exif: encode(quarters(), "MPO", exif=exif, **LOSSLESS_JPEG),
    "png": lambda exif: encode(quarters(), "PNG", exif=exif),
    "png, palette": lambda exif: encode(quarters().quantize(4), "PNG", exif=exif),
    "png, transparent": lambda exif: encode(transparent_quarters(), "PNG", exif=exif),
    "png, animated": lambda exif: encode_animation(quarters(), "PNG", exif=exif),
    "webp": lambda exif: encode(quarters(), "WEBP", exif=exif, lossless=True),
    "webp, transparent": lambda exif: encode(transparent_quarters(), "WEBP", exif=exif, lossless=True, exact=True),
    "webp, animated": lambda exif: encode_animation(quarters(), "WEBP", exif=exif, lossless=True),
    "tiff": lambda exif: encode(quarters(), "TIFF", exif=exif),
    "tiff, lzw": lambda exif: encode(quarters(), "TIFF", exif=exif, compression="tiff_lzw"),
    "tiff, grey": lambda exif: encode(quarters().convert("L"), "TIFF", exif=exif),
    "tiff, fax": lambda exif: encode(quarters().convert("1"), "TIFF", exif=exif, compression="group4"),
    "tiff, transparent": lambda exif: encode(transparent_quarters(), "TIFF", exif=exif),
}


def upright(raw: bytes) -> Image.Image:
    with Image.open(io.BytesIO(raw)) as picture:
        return on_white(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", TURNED)
def test_a_turned_or_mirrored_picture_is_made_upright(name: str, orientation: int) -> None:
    raw = TURNED[name](oriented(orientation))
    expected = upright(raw)
    assert max_difference(pixels(raw, expected.height, expected.width), expected) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", TURNED)
def test_the_source_has_the_upright_size(name: str, orientation: int) -> None:
    raw = TURNED[name](oriented(orientation))
    expected = upright(raw)
    source = prepare_image(ImageResize(height_px=4, width_px=4), raw, Limits()).source
    assert source == ImageSource(height_px=expected.height, width_px=expected.width)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_an_orientation_that_does_not_exist_changes_nothing(file_format: str, orientation: int) -> None:
    raw = encode(quarters(), file_format, exif=oriented(orientation), lossless=True)
    assert np.array_equal(pixels(raw), np.asarray(quarters()))


def test_metadata_without_an_orientation_changes_nothing() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    assert np.array_equal(pixels(encode(quarters(), "PNG", exif=exif)), np.asarray(quarters()))
