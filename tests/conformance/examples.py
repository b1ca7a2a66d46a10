"""A small example of everything: a line for each kind of preprocessing, a line for each task; the laws run over it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from bundle.preprocess import (
    ImageResize,
    ImageSource,
    Preprocess,
    Series,
    SeriesSource,
    Source,
    TextSource,
    TextTokens,
)
from bundle.tasks.anomaly import AnomalyDecode
from bundle.tasks.classification import ClassificationDecode
from bundle.tasks.detection import DetectionDecode
from bundle.tasks.segmentation import SegmentationDecode
from bundle.tasks.sentence_embedding import SentenceEmbeddingDecode
from bundle.tasks.series_anomaly import SeriesAnomalyDecode
from bundle.tensors import Tensors
from tests.builders import picture, png

LABELS = ("cat", "dog", "owl")
HEIGHT_PX, WIDTH_PX = 12, 16
"""Of every example picture as it comes."""


@dataclass(frozen=True)
class Kind:
    """Raw inputs of one kind, four of them, and several ways to prepare each."""

    preprocess: tuple[Preprocess, ...]
    media_type: str
    raws: tuple[bytes, ...]
    assets: dict[str, bytes] = field(default_factory=dict)

    def write_assets(self, folder: Path) -> Path:
        for name, content in self.assets.items():
            (folder / name).write_bytes(content)
        return folder


@dataclass(frozen=True)
class Example:
    """What one task needs to decode: the preprocessing of its inputs, its parameters, and an input's source."""

    preprocess: Preprocess
    decode: Any
    source: Source
    plausible: Callable[[Tensors], Tensors] = lambda row: row
    """Makes a row of uniform numbers one that a graph could give."""


def _pictures(height_px: int, width_px: int) -> tuple[ImageResize, ...]:
    return tuple(ImageResize(height_px=height_px, width_px=width_px, color=color) for color in ("rgb", "grey"))


def _series(seed: int) -> bytes:
    return ",".join(f"{value:.3f}" for value in np.random.default_rng(seed).normal(3, 2, 24)).encode()


def _tokenizer() -> bytes:
    words = ["[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str().encode()


def _text(length: int) -> bytes:
    return " ".join("abcdefghijklmnopqrstuvwxyz"[i * length % 26] for i in range(1, length + 1)).encode()


PICTURES = Kind(
    preprocess=(*_pictures(16, 16), *_pictures(24, 32)),
    media_type="image/png",
    raws=tuple(png(picture(seed, HEIGHT_PX, WIDTH_PX)) for seed in range(4)),
)
SERIES = Kind(
    preprocess=(Series(num_steps=24),),
    media_type="text/csv",
    raws=tuple(_series(seed) for seed in range(4)),
)
TEXTS = Kind(
    preprocess=(
        TextTokens(vocab_size=28, max_tokens=48, pad_to_multiple=16),
        TextTokens(vocab_size=100, max_tokens=20, pad_to_multiple=1),
    ),
    media_type="text/plain",
    raws=tuple(_text(length) for length in (3, 9, 25, 40)),
    assets={"tokenizer.json": _tokenizer()},
)
KINDS: dict[str, Kind] = {"image-resize": PICTURES, "series": SERIES, "text-tokens": TEXTS}


def _found(row: Tensors) -> Tensors:
    """Left and top come first, and every row counts."""
    return row | {"boxes_xyxy": np.sort(row["boxes_xyxy"]), "num_detections": np.array(len(row["scores"]))}


PICTURE, BEAT, TEXT = ImageSource(HEIGHT_PX, WIDTH_PX), SeriesSource(24), TextSource(num_tokens=9, truncated=False)

EXAMPLES: dict[str, Example] = {
    "image-classification": Example(PICTURES.preprocess[0], ClassificationDecode(labels=LABELS), PICTURE),
    "image-segmentation": Example(PICTURES.preprocess[0], SegmentationDecode(labels=LABELS), PICTURE),
    "object-detection": Example(
        PICTURES.preprocess[0], DetectionDecode(labels=LABELS, max_detections=4), PICTURE, _found
    ),
    "anomaly-detection": Example(PICTURES.preprocess[0], AnomalyDecode(), PICTURE),
    "series-anomaly-detection": Example(SERIES.preprocess[0], SeriesAnomalyDecode(), BEAT),
    "text-classification": Example(TEXTS.preprocess[0], ClassificationDecode(labels=LABELS), TEXT),
    "sentence-embedding": Example(
        TEXTS.preprocess[0], SentenceEmbeddingDecode(dim=4, normalised=False, pooling="mean"), TEXT
    ),
}
"""By task."""
