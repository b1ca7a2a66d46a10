"""Pictures become the pixels a person sees, whatever file they come in."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from bundle.preprocess import ImageResize, ImageSource, Limits
from bundle.preprocess.image import prepare_image
from bundle.tensors import Array
from tests.builders import picture
from tests.bundle.preprocess.pictures import (
    CENTRES,
    EVERY,
    GREY,
    LOSSLESS,
    LOSSY,
    ONE_BIT,
    TRANSPARENT,
    as_pillow_sees_it,
    encode,
    encode_animation,
    encode_pixels,
    max_difference,
    on_white,
    oriented,
    pixels,
    quarters,
    sixteen_bits,
    transparent_quarters,
)

REDUCING = {8: 64, 4: 96, 2: 192, 1: 320}
"""How much smaller libjpeg may decode 512 x 768 pixels -> the size asked for."""


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_file_gives_its_very_pixels(name: str) -> None:
    assert np.array_equal(pixels(LOSSLESS[name]), np.asarray(quarters()))


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_file_gives_its_colours_in_the_order_red_green_blue(name: str) -> None:
    got, expected = pixels(LOSSY[name]), np.asarray(quarters())
    assert all(max_difference(got[at], expected[at]) <= 3 for at in CENTRES)


@pytest.mark.parametrize("name", LOSSLESS)
def test_grey_is_the_brightness_of_the_colours(name: str) -> None:
    assert max_difference(pixels(LOSSLESS[name], color="grey"), quarters().convert("L")) <= 1


@pytest.mark.parametrize("name", LOSSY)
def test_grey_is_the_brightness_of_the_colours_of_a_lossy_file(name: str) -> None:
    got, expected = pixels(LOSSY[name], color="grey"), np.asarray(quarters().convert("L"))
    assert all(max_difference(got[at], expected[at]) <= 3 for at in CENTRES)


@pytest.mark.parametrize("name", GREY)
def test_a_grey_file_gives_three_equal_channels(name: str) -> None:
    assert max_difference(pixels(GREY[name]), quarters().convert("L").convert("RGB")) <= 1


@pytest.mark.parametrize("name", GREY)
def test_a_grey_file_gives_its_very_brightness(name: str) -> None:
    assert max_difference(pixels(GREY[name], color="grey"), quarters().convert("L")) <= 1


@pytest.mark.parametrize("color", ["rgb", "grey"])
@pytest.mark.parametrize("name", ONE_BIT)
def test_one_bit_gives_black_and_white(name: str, color: str) -> None:
    expected = quarters().convert("1").convert("RGB" if color == "rgb" else "L")
    assert max_difference(pixels(ONE_BIT[name], color=color), expected) == 0


@pytest.mark.parametrize("name", TRANSPARENT)
def test_a_transparent_picture_lies_on_white(name: str) -> None:
    assert max_difference(pixels(TRANSPARENT[name]), as_pillow_sees_it(TRANSPARENT[name])) <= 1


@pytest.mark.parametrize("name", TRANSPARENT)
def test_a_transparent_picture_lies_on_white_in_grey_too(name: str) -> None:
    expected = as_pillow_sees_it(TRANSPARENT[name]).convert("L")
    assert max_difference(pixels(TRANSPARENT[name], color="grey"), expected) <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_transparent_picture_of_sixteen_bits_lies_on_white(suffix: str) -> None:
    raw = encode_pixels(sixteen_bits(transparent_quarters()), suffix)
    assert max_difference(pixels(raw), on_white(transparent_quarters())) <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_to_eight(suffix: str, channels: int) -> None:
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    image = np.dstack([ramp, ramp, ramp, np.full_like(ramp, 65535)])[:, :, :channels]
    expected = np.repeat(np.round(ramp / 257)[:, :, None], 3, axis=2)
    assert max_difference(pixels(encode_pixels(image, suffix), 16, 16), expected) <= 1


def test_a_transparent_animation_gives_its_first_frame_only() -> None:
    raw = encode_animation(transparent_quarters(), "PNG")
    assert max_difference(pixels(raw), on_white(transparent_quarters())) <= 1


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("color", "channels"), [("rgb", 3), ("grey", 1)])
def test_the_row_has_the_declared_form(name: str, color: str, channels: int) -> None:
    row = pixels(EVERY[name], 9, 7, color)
    assert (row.shape, row.dtype) == ((9, 7, channels), np.uint8)
    assert row.flags.c_contiguous
    assert row.flags.writeable


def test_rows_of_all_formats_stack_into_one_batch() -> None:
    assert np.stack([pixels(raw) for raw in EVERY.values()]).shape == (len(EVERY), 32, 48, 3)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_bytes_give_the_same_pixels(name: str) -> None:
    assert np.array_equal(pixels(EVERY[name], 20, 60), pixels(EVERY[name], 20, 60))


def test_threads_side_by_side_give_the_same_pixels() -> None:
    raws = list(EVERY.values()) * 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pixels, raws))
    assert all(np.array_equal(pixels(raw), got) for raw, got in zip(raws, together, strict=True))


def test_the_source_is_the_size_of_the_file_not_of_the_row() -> None:
    raw = encode(quarters(), "PNG")
    assert prepare_image(ImageResize(height_px=5, width_px=6), raw, Limits()).source == ImageSource(
        height_px=32, width_px=48
    )


def photograph() -> Image.Image:
    """512 x 768 pixels of strong colours with fine detail on them."""
    detail = np.random.default_rng(1).integers(-20, 21, (512, 768, 1))
    return Image.fromarray((picture(3, 512, 768).astype(np.int16) + detail).clip(0, 255).astype(np.uint8))


PHOTOGRAPHS = {
    "baseline": encode(photograph(), "JPEG", quality=92),
    "progressive": encode(photograph(), "JPEG", quality=92, progressive=True),
    "cmyk": encode(photograph().convert("CMYK"), "JPEG", quality=92),
    "grey": encode(photograph().convert("L"), "JPEG", quality=92),
    "camera": encode(photograph(), "MPO", quality=92, save_all=True, append_images=[photograph()]),
}


def decoded_whole_then_averaged(raw: bytes, size_px: int, mode: str) -> Array:
    whole = np.asarray(as_pillow_sees_it(raw).convert(mode))
    return cv2.resize(whole, (size_px, size_px), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("factor", REDUCING)
@pytest.mark.parametrize(("color", "mode"), [("rgb", "RGB"), ("grey", "L")])
def test_a_photograph_decoded_smaller_is_the_photograph_averaged(name: str, factor: int, color: str, mode: str) -> None:
    size_px = REDUCING[factor]
    got = pixels(PHOTOGRAPHS[name], size_px, size_px, color)
    expected = decoded_whole_then_averaged(PHOTOGRAPHS[name], size_px, mode).reshape(got.shape)
    assert np.abs(got.astype(float) - expected).mean() < 1.5


def test_a_photograph_decoded_smaller_keeps_its_source_size_and_is_turned() -> None:
    raw = encode(photograph(), "JPEG", exif=oriented(6))
    prepared = prepare_image(ImageResize(height_px=60, width_px=40), raw, Limits())
    upright = cv2.resize(np.asarray(photograph().transpose(Image.Transpose.ROTATE_270)), (40, 60), None, 0, 0, 3)
    assert prepared.source == ImageSource(height_px=768, width_px=512)
    assert np.abs(prepared.tensors["image"].astype(float) - upright).mean() < 2


def grey_png(rows: list[list[int]]) -> bytes:
    return encode(Image.fromarray(np.array(rows, np.uint8)), "PNG")


def test_shrinking_averages_every_source_pixel() -> None:
    image_HW = np.random.default_rng(0).integers(0, 256, (24, 40), dtype=np.uint8)
    blocks = image_HW.reshape(8, 3, 10, 4).mean(axis=(1, 3))
    assert max_difference(pixels(grey_png(image_HW.tolist()), 8, 10, "grey"), np.round(blocks)) <= 1


def test_shrinking_a_checkerboard_gives_grey_not_a_pattern() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).tolist()
    assert pixels(grey_png(board), 8, 8, "grey").tolist() == np.full((8, 8, 1), 128).tolist()


def test_growing_interpolates_linearly() -> None:
    assert pixels(grey_png([[0, 200]]), 1, 4, "grey").ravel().tolist() == [0, 50, 150, 200]


def test_a_side_that_shrinks_is_averaged_while_the_other_grows() -> None:
    narrow = [[0, 100, 0, 100], [200, 100, 200, 100]]
    got = pixels(grey_png(narrow), 4, 2, "grey")[:, :, 0]
    assert got.tolist() == [[50, 50], [75, 75], [125, 125], [150, 150]]


@pytest.mark.parametrize("color", ["rgb", "grey"])
def test_one_pixel_fills_the_whole_row(color: str) -> None:
    assert np.unique(pixels(encode(Image.new("RGB", (1, 1), (70, 70, 70)), "PNG"), 5, 9, color)).tolist() == [70]


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
def test_a_strip_of_one_pixel_is_stretched(size: tuple[int, int]) -> None:
    assert pixels(encode(Image.new("RGB", size, (200, 10, 30)), "PNG"), 8, 8)[4, 4].tolist() == [200, 10, 30]
