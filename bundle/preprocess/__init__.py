"""Raw input -> tensors: one function that training, export, scoring and serving all call.

Behaviour is data (a tagged union stored in the manifest) applied by one function a kind, so the evaluation
transform of training *is* the preprocessing of serving. Knows nothing of models, labels or HTTP.
"""

from collections.abc import Callable

from bundle.preprocess.image import ImageResize, prepare_image
from bundle.preprocess.prepared import ImageSource, Limits, Prepared

Preprocess = ImageResize
"""The tagged union of all kinds (today one): add a kind with `|`, and its function to PREPARE."""

PREPARE: dict[str, Callable[[ImageResize, bytes, Limits], Prepared]] = {
    "image-resize": prepare_image,
}


def prepare(spec: Preprocess, raw: bytes, limits: Limits) -> Prepared:
    """Turn one raw input into the rows of a model's input tensors.

    Raises:
        BadInput: the bytes are not what the kind reads; InputTooLarge where they are over a limit.
    """
    return PREPARE[spec.kind](spec, raw, limits)


__all__ = ["PREPARE", "ImageResize", "ImageSource", "Limits", "Prepared", "Preprocess", "prepare"]
