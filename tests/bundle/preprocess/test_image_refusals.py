"""Whatever bytes arrive, the answer is pixels or a BadInput that says what to do; limits hold before any decoding."""

import resource
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bundle.errors import BadInput, InputTooLarge
from bundle.preprocess import ImageResize, Limits
from bundle.preprocess.image import prepare_image, read_header
from bundle.tensors import Array
from tests.bundle.preprocess.pictures import EVERY, encode, encode_animation, pixels, png_header, quarters

SPEC = ImageResize(height_px=8, width_px=8)
HOLDING_MANY = ("tiff, many pages", "jpeg of a camera (mpo)")  # half of such a file may hold the first picture whole
QUARTERS = ImageResize(height_px=32, width_px=48)
LAW = settings(derandomize=True, deadline=None, max_examples=400)
OF_PILLOW = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged metadata before it refuses


def refusal(raw: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        prepare_image(SPEC, raw, limits or Limits())
    return str(caught.value)


def test_no_bytes_are_refused_with_what_to_send() -> None:
    assert refusal(b"") == "the picture is empty (0 bytes); send the bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF file"


@pytest.mark.parametrize(
    "raw",
    [b"hello, world", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n", b"PK\3\4" + bytes(30), bytes(99)],
)
def test_bytes_of_something_else_are_refused_with_what_to_send(raw: bytes) -> None:
    message = refusal(raw)
    assert f"these {len(raw)} bytes are not a picture that is read here (they begin with {raw[:8]!r})" in message
    assert "send a JPEG, PNG, WebP, BMP, TIFF or GIF file" in message


@pytest.mark.parametrize("file_format", ["PPM", "TGA", "ICO", "PCX", "SGI"])
def test_a_picture_of_a_format_that_is_not_read_is_refused(file_format: str) -> None:
    assert "are not a picture that is read here" in refusal(encode(quarters(), file_format))


@pytest.mark.parametrize(
    "raw", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"II*\0", b"MM\0*", b"RIFF\4\0\0\0WEBP"]
)
@OF_PILLOW
def test_a_signature_and_nothing_behind_it_is_refused(raw: bytes) -> None:
    refusal(raw)


def test_as_many_bytes_as_the_limit_are_read_and_one_more_is_refused() -> None:
    raw = encode(quarters(), "PNG")
    prepare_image(SPEC, raw, Limits(max_bytes=len(raw)))
    with pytest.raises(InputTooLarge, match=f"has {len(raw)} bytes; at most {len(raw) - 1} are read"):
        prepare_image(SPEC, raw, Limits(max_bytes=len(raw) - 1))


def test_as_many_pixels_as_the_limit_are_decoded_and_one_more_is_refused() -> None:
    raw = encode(quarters(), "PNG")
    prepare_image(SPEC, raw, Limits(max_pixels=32 * 48))
    with pytest.raises(InputTooLarge, match="is 48 x 32 pixels; at most 1535 pixels are decoded"):
        prepare_image(SPEC, raw, Limits(max_pixels=32 * 48 - 1))


def patched(raw: bytes, at: int, content: bytes) -> bytes:
    return raw[:at] + content + raw[at + len(content) :]


def huge_jpeg() -> bytes:
    raw = encode(quarters(), "JPEG")
    return patched(raw, raw.index(b"\xff\xc0") + 5, struct.pack(">HH", 65500, 65500))


def huge_tiff() -> bytes:
    raw = encode(quarters(), "TIFF")
    sizes = {256: 48, 257: 32}
    for tag, size in sizes.items():
        entry = struct.pack("<HHII", tag, 4, 1, size)
        raw = patched(raw, raw.index(entry), struct.pack("<HHII", tag, 4, 1, 65500))
    return raw


HUGE = {
    "png": png_header(100_000, 100_000),
    "jpeg": huge_jpeg(),
    "bmp": patched(encode(quarters(), "BMP"), 18, struct.pack("<ii", 65500, 65500)),
    "gif": patched(encode(quarters(), "GIF"), 6, struct.pack("<HH", 65500, 65500)),
    "tiff": huge_tiff(),
    "webp": patched(encode_animation(quarters(), "WEBP"), 24, b"\xff\x3f\0\xff\x3f\0"),
}
"""Small files that claim to hold 268 million pixels or more."""


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_picture_costs_nothing(name: str) -> None:
    start_s = time.perf_counter()
    with pytest.raises(InputTooLarge):
        prepare_image(SPEC, HUGE[name], Limits())
    assert time.perf_counter() - start_s < 0.5


def test_a_huge_picture_is_refused_with_its_size_and_the_limit() -> None:
    assert refusal(HUGE["png"]) == "the picture is 100000 x 100000 pixels; at most 50000000 pixels are decoded"


def test_a_picture_twice_the_limit_is_refused_without_a_warning_of_the_library() -> None:
    assert "is 10000 x 10000 pixels; at most 50000000" in refusal(png_header(10_000, 10_000))


def test_a_process_that_allows_more_pixels_reads_more() -> None:
    assert read_header(png_header(14_000, 14_000), Limits(max_pixels=200_000_000)).width_px == 14_000


def test_a_chunk_that_claims_more_bytes_than_arrived_costs_no_memory() -> None:
    raw = encode(quarters(), "PNG")
    lying = patched(raw, raw.index(b"IDAT") - 4, struct.pack(">I", 0x30000000))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(lying)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


@pytest.mark.parametrize("name", [name for name in EVERY if name not in HOLDING_MANY])
@OF_PILLOW
def test_half_a_file_is_refused(name: str) -> None:
    refusal(EVERY[name][: len(EVERY[name]) // 2])


def pixels_or_refusal(raw: bytes, spec: ImageResize = QUARTERS) -> Array | str:
    """Nothing but BadInput may come out instead of pixels."""
    try:
        return prepare_image(spec, raw, Limits(max_pixels=100_000)).tensors["image"]
    except BadInput as refused:
        return str(refused)


@pytest.mark.parametrize("name", EVERY)
@OF_PILLOW
def test_a_truncated_file_is_refused_or_gives_the_whole_picture(name: str) -> None:
    raw, whole = EVERY[name], pixels(EVERY[name])
    for length in {*np.linspace(0, len(raw) - 1, 60, dtype=int).tolist(), *range(len(raw) - 20, len(raw))}:
        got = pixels_or_refusal(raw[:length])
        assert len(got) > 20 if isinstance(got, str) else np.array_equal(got, whole), f"{length} of {len(raw)} bytes"


@given(st.binary(max_size=300))
@LAW
def test_random_bytes_are_no_picture(raw: bytes) -> None:
    assert isinstance(pixels_or_refusal(raw), str)


SIGNATURES = sorted({raw[:12] for raw in EVERY.values()})


@given(st.sampled_from(SIGNATURES), st.binary(max_size=300))
@LAW
@OF_PILLOW
def test_random_bytes_behind_a_signature_give_a_picture_or_bad_input(signature: bytes, rest: bytes) -> None:
    assert len(pixels_or_refusal(signature + rest)) > 0


EDITS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 200), st.integers(0, 10_000)),  # headers are where a change does most
        st.sampled_from(["set", "insert", "delete"]),
        st.one_of(st.sampled_from([b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=5,
)


@given(st.sampled_from(sorted(EVERY)), EDITS, st.sampled_from([SPEC, QUARTERS]))
@settings(LAW, max_examples=1500)
@OF_PILLOW
def test_a_damaged_picture_gives_a_picture_or_bad_input(
    name: str, edits: list[tuple[int, str, bytes]], spec: ImageResize
) -> None:
    raw = EVERY[name]
    for at, edit, content in edits:
        start = min(at, len(raw))
        end = start if edit == "insert" else start + len(content)
        raw = raw[:start] + (b"" if edit == "delete" else content) + raw[end:]
    assert len(pixels_or_refusal(raw, spec)) > 0


def test_a_damaged_picture_is_described_in_the_message() -> None:
    raw = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)), "JPEG")
    message = refusal(raw[:700])
    assert "the JPEG picture of 48 x 32 pixels cannot be decoded" in message
    assert "truncated (700 bytes arrived), damaged, or of a rare variant" in message
