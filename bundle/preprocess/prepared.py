"""What every kind of preprocessing takes besides its spec, and what it gives back."""

from dataclasses import dataclass

from bundle.tensors import Tensors


@dataclass(frozen=True)
class Limits:
    """What one raw input may cost at most; enforced before any decoding. The process sets them, not the bundle."""

    max_bytes: int = 16 * 2**20
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class ImageSource:
    """The picture as it came, upright: answers in its own pixels need its size."""

    height_px: int
    width_px: int


@dataclass(frozen=True)
class SeriesSource:
    """The series as it came."""

    num_steps: int


@dataclass(frozen=True)
class TextSource:
    """The text as the model saw it: how many tokens were read, and whether that was all of it."""

    num_tokens: int
    truncated: bool


Source = ImageSource | SeriesSource | TextSource


@dataclass(frozen=True)
class Prepared:
    """One input, ready to run: rows (no batch axis) by input name, and what decoding must know of the source."""

    tensors: Tensors
    source: Source
