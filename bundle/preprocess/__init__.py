"""Raw input -> tensors: one function that training, export, scoring and serving all call.

Behaviour is data (a tagged union stored in the manifest) applied by one function a kind, so the evaluation
transform of training *is* the preprocessing of serving. Knows nothing of models, labels or HTTP.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bundle.preprocess.image import ImageResize, prepare_image
from bundle.preprocess.prepared import ImageSource, Limits, Prepared, SeriesSource, Source, TextSource
from bundle.preprocess.series import Series, prepare_series
from bundle.preprocess.text import TextTokens, load_tokenizer, prepare_text

Preprocess = Annotated[ImageResize | Series | TextTokens, Field(discriminator="kind")]
"""The tagged union of all kinds: add a kind here, and its loader to PREPARE."""

Prepare = Callable[[bytes, Limits], Prepared]
"""One raw input -> the rows of a model's input tensors. May be called from several threads at once.

Raises BadInput where the bytes are not what the kind reads; InputTooLarge where they are over a limit.
"""

PREPARE: dict[str, Callable[[Any, Path], Prepare]] = {
    "image-resize": lambda spec, _: partial(prepare_image, spec),
    "series": lambda spec, _: partial(prepare_series, spec),
    "text-tokens": lambda spec, folder: partial(prepare_text, spec, load_tokenizer(spec, folder)),
}


def load_preprocess(spec: Preprocess, folder: Path) -> Prepare:
    """Make a kind ready to prepare; `folder` holds the files that `spec.assets()` names.

    Raises:
        BundleError: such a file is missing or damaged.
    """
    return PREPARE[spec.kind](spec, folder)


__all__ = [
    "PREPARE",
    "ImageResize",
    "ImageSource",
    "Limits",
    "Prepare",
    "Prepared",
    "Preprocess",
    "Series",
    "SeriesSource",
    "Source",
    "TextSource",
    "TextTokens",
    "load_preprocess",
]
