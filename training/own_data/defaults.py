"""Sensible settings from what the data is like: sizes, lengths of training, balance.

Knows samples and rules of thumb, each with its reason. Knows nothing of any one kind of model.
"""

import statistics
import sys
from collections import Counter
from collections.abc import Sequence

from bundle.errors import BadInput, DataError
from bundle.preprocess import ImageResize, Limits
from bundle.preprocess.image import read_header
from training.data.samples import Samples, Splits

MAX_LOOKED_AT = 200  # pictures: enough to know how large they usually are
LARGE_IMBALANCE = 3.0  # commonest label over rarest; up to this, plain shuffling learns the rare one as well
MIN_EPOCHS, MAX_EPOCHS = 8, 60


def image_size(samples: Samples, longest_px: int, multiple_px: int) -> tuple[int, int]:
    """(height, width): of the usual picture, scaled down to `longest_px`, each a multiple of what networks halve.

    Raises:
        DataError: names a picture that cannot be read.
    """
    step = max(1, len(samples) // MAX_LOOKED_AT)
    sizes = [_size(samples, i) for i in range(0, len(samples), step)]
    height_px, width_px = (statistics.median(side) for side in zip(*sizes, strict=True))
    scale = min(1.0, longest_px / max(height_px, width_px))

    def rounded(side_px: float) -> int:
        return max(multiple_px, round(side_px * scale / multiple_px) * multiple_px)

    return rounded(height_px), rounded(width_px)


def image_resize(samples: Samples, longest_px: int, multiple_px: int) -> ImageResize:
    """Colour pictures of the usual size."""
    height_px, width_px = image_size(samples, longest_px, multiple_px)
    return ImageResize(height_px=height_px, width_px=width_px)


def num_epochs(num_samples: int, batch_size: int, steps: int) -> int:
    """As many as make about `steps` steps, within bounds: small data is seen more often, large data less."""
    return max(MIN_EPOCHS, min(MAX_EPOCHS, round(steps * batch_size / max(num_samples, 1))))


def batch_size(num_samples: int, most: int) -> int:
    """At most `most`, and at least eight steps an epoch where the data is small."""
    return max(2, min(most, num_samples // 8))


def is_unbalanced(samples: Samples) -> bool:
    """Whether rare labels should be seen more often than they occur."""
    counts = Counter(samples.stratum(i) for i in range(len(samples)))
    return max(counts.values()) > LARGE_IMBALANCE * min(counts.values())


def describe(splits: Splits, notes: Sequence[str] = ()) -> None:
    """Tell what was found, before hours are spent on it."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    sizes = ", ".join(f"{len(samples)} {name}" for name, samples in parts.items() if samples is not None)
    labels = ", ".join(splits.labels[:10]) + (", ..." if len(splits.labels) > 10 else "")
    print(f"found {sizes} samples" + (f"; {len(splits.labels)} labels: {labels}" if labels else ""), file=sys.stderr)
    for note in notes:
        print(note, file=sys.stderr)


def _size(samples: Samples, index: int) -> tuple[int, int]:
    try:
        header = read_header(samples.raw(index), Limits())
    except BadInput as cause:
        raise DataError(f"{samples.name(index)}: {cause}") from cause
    return header.height_px, header.width_px
