"""The classification extension: the k largest values of each row as "value:index[:label]", largest first.

Values are written with as many digits as they have, so that a client reads back what the model gave. Knows numpy and
manifests. Knows nothing of the wire.
"""

from collections.abc import Sequence

import numpy as np

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.tensors import Array


def classify(batch: Array, k: int, labels: Sequence[str] = ()) -> Array:
    """[rows, ...] -> objects (`bytes`) [rows, k]; k is clipped to what a row holds, equal values keep their order.

    Raises:
        BadInput: k is below 1.
    """
    if k < 1:
        raise BadInput(f"classification is {k}; it says how many classes an output is to name, at least 1")
    flat = batch.reshape(len(batch), -1)
    k = min(k, flat.shape[1])
    # Descending and stable: the reverse of an ascending stable sort would turn ties round. NaN goes last either way.
    falling = -flat.astype(np.float64) if np.issubdtype(flat.dtype, np.floating) else ~flat
    order = np.argsort(falling, axis=1, kind="stable")[:, :k]
    named = np.empty((len(batch), k), np.object_)
    for row, indices in enumerate(order):
        for place, index in enumerate(indices.tolist()):
            named[row, place] = _name(flat[row, index], index, labels).encode()
    return named


def labels_of(manifest: Manifest, output: str) -> tuple[str, ...]:
    """The labels that the columns of an output stand for; none where they stand for something else."""
    labels: tuple[str, ...] = getattr(manifest.decode, "labels", ())
    shape = next(spec.shape for spec in manifest.outputs if spec.name == output)
    is_scores = manifest.task.endswith("-classification") and shape == ("batch", len(labels))
    return labels if is_scores else ()


def _name(value: np.generic, index: int, labels: Sequence[str]) -> str:
    return f"{value}:{index}:{labels[index]}" if labels else f"{value}:{index}"
