"""Encoded picture -> uint8 pixels of the size a model wants.

The header is read first (Pillow, no decoding), so a picture over the limits costs nothing; OpenCV then decodes,
about twice as fast. A picture is taken as a person sees it: EXIF orientation is applied, transparency lies on
white, 16 bits are scaled to 8, CMYK becomes RGB, and of an animation the first frame counts.
Casting, normalisation and layout change are in the graph. Knows nothing of models or HTTP.
"""

import io
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import (
    Image,
    TiffImagePlugin,  # noqa: F401 - importing these two registers their formats
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)
from pydantic import Field

from bundle.errors import BadInput, InputTooLarge
from bundle.preprocess import png
from bundle.preprocess.prepared import ImageSource, Limits, Prepared
from bundle.spec import Spec
from bundle.tensors import Array, TensorSpec

Image.MAX_IMAGE_PIXELS = None  # `Limits.max_pixels` counts, and it is held before anything is decoded
Image.preinit()  # registers the other formats now, not in the first requests of several threads at once
cv2.setNumThreads(1)  # callers run several pictures side by side; threads inside one would only compete
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a bad upload is answered, not logged by a codec

FORMATS = {
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
}
"""Pillow's name of each format that is read -> its media type."""
JPEGS = ("JPEG", "MPO")  # Pillow calls the JPEG of many cameras MPO

ORIENTATION_TAG = 0x0112
UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: lambda image_HWC: image_HWC[:, ::-1],
    3: lambda image_HWC: image_HWC[::-1, ::-1],
    4: lambda image_HWC: image_HWC[::-1],
    5: lambda image_HWC: image_HWC.swapaxes(0, 1),
    6: lambda image_HWC: image_HWC.swapaxes(0, 1)[:, ::-1],
    7: lambda image_HWC: image_HWC.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image_HWC: image_HWC.swapaxes(0, 1)[::-1],
}
REDUCED = {  # libjpeg decodes straight to 1/2, 1/4 or 1/8 of the size, which saves most of the work on photographs
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,  # the factor alone: IMREAD_REDUCED_COLOR_8 also asks for BGR
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}


Color = Literal["rgb", "grey"]

QUICK_BYTES = 8192
QUICK_PIXELS = 64 * 64


class ImageResize(Spec):
    """Decode and stretch to a fixed size; the aspect ratio is not kept.

    Gives `image`: uint8 [height, width, channels].
    """

    kind: Literal["image-resize"] = "image-resize"
    height_px: int = Field(ge=1, le=8192)
    width_px: int = Field(ge=1, le=8192)
    color: Color = "rgb"

    @property
    def channels(self) -> int:
        """3 for rgb, 1 for grey."""
        return 3 if self.color == "rgb" else 1

    @property
    def input_atol(self) -> int:
        """Codecs and resize kernels of other machines may round a pixel by one level of 255, never more."""
        return 1

    def assets(self) -> tuple[str, ...]:
        """It needs no files."""
        return ()

    def is_quick(self, raw: bytes) -> bool:
        """Whether preparing takes less time than giving it to another thread: a small PNG, by its own header.

        Other formats do not tell their size as cheaply.
        """
        if len(raw) > QUICK_BYTES or not png.begins(raw):
            return False
        height_px, width_px = png.size_px(raw)
        return height_px * width_px <= QUICK_PIXELS

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The one tensor that a graph takes."""
        shape = ("batch", self.height_px, self.width_px, self.channels)
        return (TensorSpec(name="image", dtype="uint8", shape=shape),)


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before it is decoded; size as stored, before orientation."""

    format: str
    height_px: int
    width_px: int
    orientation: int
    has_alpha: bool
    checked: bool = False
    """Whether reading the header has held the rest of the file to its checksums too."""


def prepare_image(spec: ImageResize, raw: bytes, limits: Limits) -> Prepared:
    """Decode a picture and resize it: the row `image`, uint8 [height, width, channels].

    Raises:
        BadInput: empty, not a picture, a format that is not read, truncated or damaged.
        InputTooLarge: more bytes or more pixels than the limits allow.
    """
    header = read_header(raw, limits)
    wanted_px = max(spec.height_px, spec.width_px)  # either side: the picture may still be turned
    image_HWC = _upright(_decode(raw, header, spec.color, wanted_px), header.orientation)
    source = upright_source(header)
    resized_HWC = _resize(image_HWC, spec.height_px, spec.width_px)
    return Prepared({"image": resized_HWC.reshape(spec.height_px, spec.width_px, spec.channels)}, source)


def read_image(raw: bytes, limits: Limits) -> Array:
    """Decode a picture at its own size, upright: uint8 RGB [height, width, 3]; what overlays are drawn on.

    Raises:
        BadInput, InputTooLarge: as `prepare_image`.
    """
    header = read_header(raw, limits)
    return _upright(_decode(raw, header, "rgb", max(header.height_px, header.width_px)), header.orientation)


def read_header(raw: bytes, limits: Limits) -> Header:
    """Read format, size and orientation without decoding, and hold the limits."""
    if not raw:
        raise BadInput("the picture is empty (0 bytes); send the bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF file")
    if len(raw) > limits.max_bytes:
        raise InputTooLarge(f"the picture has {len(raw)} bytes; at most {limits.max_bytes} are read")
    if png.begins(raw):
        _check_size(*png.size_px(raw), limits)
        plain = png.plain_size_px(raw)
        if plain is not None:
            return Header("PNG", *plain, orientation=1, has_alpha=False, checked=True)
    try:
        with Image.open(io.BytesIO(raw), formats=list(FORMATS)) as picture:
            width_px, height_px = picture.size
            _check_size(height_px, width_px, limits)
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            # A TIFF has no "exif" here, and needs none: Pillow gives its upright size, and OpenCV turns it by itself.
            orientation = picture.getexif().get(ORIENTATION_TAG, 1) if "exif" in picture.info else 1
            return Header(str(picture.format), height_px, width_px, int(orientation), has_alpha)
    except UnidentifiedImageError:
        raise BadInput(
            f"these {len(raw)} bytes are not a picture that is read here (they begin with {raw[:8]!r}); "
            "send a JPEG, PNG, WebP, BMP, TIFF or GIF file"
        ) from None
    except (OSError, ValueError, SyntaxError, TypeError, OverflowError, EOFError) as cause:
        raise BadInput(f"the picture's header is damaged: {cause}") from None


def _check_size(height_px: int, width_px: int, limits: Limits) -> None:
    if width_px * height_px > limits.max_pixels:
        raise InputTooLarge(
            f"the picture is {width_px} x {height_px} pixels; at most {limits.max_pixels} pixels are decoded"
        )


def upright_source(header: Header) -> ImageSource:
    """The size of a picture as a person sees it."""
    turned = header.orientation in (5, 6, 7, 8)
    size = (header.width_px, header.height_px) if turned else (header.height_px, header.width_px)
    return ImageSource(*size)


def _decode(raw: bytes, header: Header, color: Color, wanted_px: int) -> Array:
    if header.has_alpha:
        return _on_white(raw, header, color)
    flag = cv2.IMREAD_COLOR_RGB if color == "rgb" else cv2.IMREAD_GRAYSCALE
    if header.format in JPEGS:
        flag = _reduced_flag(header, wanted_px, flag)
    return _imdecode(raw, header, flag | cv2.IMREAD_IGNORE_ORIENTATION)


def _imdecode(raw: bytes, header: Header, flag: int) -> Array:
    if header.format == "PNG" and not header.checked:
        png.check_chunks(raw)
    try:
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), flag)
    except cv2.error as cause:
        raise BadInput(f"the {header.format} picture cannot be decoded: {cause.err}") from None
    if image is None:
        raise BadInput(
            f"the {header.format} picture of {header.width_px} x {header.height_px} pixels cannot be decoded: it is "
            f"truncated ({len(raw)} bytes arrived), damaged, or of a rare variant"
        )
    return image


def _reduced_flag(header: Header, wanted_px: int, full: int) -> int:
    for factor, reduced in REDUCED.items():
        if min(header.height_px, header.width_px) >= wanted_px * factor:
            return full | reduced
    return full


def _on_white(raw: bytes, header: Header, color: Color) -> Array:
    """Lay a transparent picture on white.

    Pillow decodes it: OpenCV overlooks the alpha of grey TIFFs and of greys made transparent in a PNG, and
    multiplies the colours of other TIFFs by it.
    """
    try:
        with Image.open(io.BytesIO(raw), formats=list(FORMATS)) as picture:
            picture_RGBA = picture.convert("RGBA")
    except Exception as cause:  # noqa: BLE001 - its codecs raise whatever they trip over
        raise BadInput(f"the transparent {header.format} picture cannot be decoded: {cause}") from None
    flat = Image.alpha_composite(Image.new("RGBA", picture_RGBA.size, "white"), picture_RGBA)
    return np.array(flat.convert("RGB" if color == "rgb" else "L"))


def _upright(image_HWC: Array, orientation: int) -> Array:
    turn = UPRIGHT.get(orientation)
    return image_HWC if turn is None else np.ascontiguousarray(turn(image_HWC))


def _resize(image_HWC: Array, height_px: int, width_px: int) -> Array:
    """Area averaging where a side shrinks (no aliasing), then linear interpolation where a side grows."""
    smaller = (min(width_px, image_HWC.shape[1]), min(height_px, image_HWC.shape[0]))
    if smaller != (image_HWC.shape[1], image_HWC.shape[0]):
        image_HWC = cv2.resize(image_HWC, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width_px, height_px):
        image_HWC = cv2.resize(image_HWC, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    return image_HWC
