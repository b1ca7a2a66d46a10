"""A real Runtime without a model: fixed, cheap answers computed from each input row alone.

For API tests, load tests and demos that should not depend on a trained model. Its artefact is a small JSON file of
tensor specs. Knows tensors. Knows nothing of tasks, yet gives float outputs that sum to 1, so scores look like scores.
"""

from pathlib import Path

import msgspec
import numpy as np
from pydantic import TypeAdapter, ValidationError

from bundle.errors import RuntimeFailed
from bundle.tensors import Array, Tensors, TensorSpec, misfit
from runtime.runtime import ON_CPU, Placement

_SPECS = TypeAdapter(dict[str, tuple[TensorSpec, ...]])


class FakeRuntime:
    """Row i of each output depends on row i of the inputs and on nothing else."""

    dead_because = ""

    def __init__(self, path: Path, placement: Placement = ON_CPU) -> None:
        try:
            specs = _SPECS.validate_json(path.read_bytes())
            self.inputs, self.outputs = specs["inputs"], specs["outputs"]
        except (OSError, ValidationError, KeyError) as cause:
            raise RuntimeFailed(f"{path}: not the specs of a fake model: {cause}") from cause

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch.

        Raises:
            RuntimeFailed: a tensor is missing or does not fit its spec.
        """
        problem = misfit(batch, self.inputs)
        if problem:
            raise RuntimeFailed(f"the fake runtime refused a batch: {problem}")
        num_rows = len(batch[self.inputs[0].name])
        seeds = [sum(float(array[i].sum()) for array in batch.values()) for i in range(num_rows)]
        return {spec.name: np.stack([_row(spec, seed) for seed in seeds]) for spec in self.outputs}


def write_fake(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Write the artefact of a fake model with these tensors."""
    specs = {"inputs": [spec.model_dump() for spec in inputs], "outputs": [spec.model_dump() for spec in outputs]}
    path.write_bytes(msgspec.json.encode(specs))


def _row(spec: TensorSpec, seed: float) -> Array:
    shape = [size if isinstance(size, int) else 1 for size in spec.shape[1:]]
    ramp = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    values = 1.5 + np.sin(seed + ramp * ramp)
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        values /= values.sum()
    return values.reshape(shape).astype(spec.dtype)
