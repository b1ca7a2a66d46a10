"""Replay golden samples through the whole path: raw bytes -> prepare -> run -> decode, against the checkpoint's.

Export calls it to prove, serving before it says ready. Knows a Predictor and its samples. Knows nothing of why it
is asked.
"""

import numpy as np

from bundle.errors import BadInput, ParityError
from bundle.golden import Golden
from bundle.preprocess import Prepared
from bundle.tensors import Array
from runtime.predictor import Predictor


def replay(predictor: Predictor, samples: list[Golden], atol: float) -> None:
    """Check what preparing gives, what the engine gives (each sample alone, and all in one call), and the answers.

    `atol` bounds the error of each output value against the checkpoint's, on the checkpoint's own input rows.

    Raises:
        ParityError: names the sample, the tensor, the error and the limit.
    """
    for i, sample in enumerate(samples):
        one = _prepare(predictor, sample, i)
        for name, expected in sample.inputs.items():
            _close(
                f"golden sample {i}: input '{name}'",
                expected,
                one.tensors[name],
                predictor.manifest.preprocess.input_atol,
            )
    together = predictor.run([sample.inputs for sample in samples])
    for i, (sample, row) in enumerate(zip(samples, together, strict=True)):
        alone = predictor.run([sample.inputs])[0]
        for name, expected in sample.outputs.items():
            _close(f"golden sample {i} alone: output '{name}'", expected, alone[name], atol)
            _close(f"golden sample {i} in a batch: output '{name}'", expected, row[name], atol)
    answers = predictor.predict([sample.raw for sample in samples], predictor.task.golden_options())
    for i, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
        differs = predictor.task.agree(sample.answer, answer, atol)  # type: ignore[arg-type]
        if differs:
            raise ParityError(f"golden sample {i}: the answer differs: {differs}")


def _prepare(predictor: Predictor, sample: Golden, i: int) -> Prepared:
    try:
        return predictor.prepare(sample.raw)
    except BadInput as cause:
        raise ParityError(f"golden sample {i}: its raw input cannot be read on this machine: {cause}") from cause


def _close(what: str, expected: Array, got: Array, atol: float) -> None:
    error = max_abs_error(expected, got)
    if not error <= atol:
        raise ParityError(f"{what}: error {error:.3g} is over the limit {atol:.3g}")


def max_abs_error(expected: Array, got: Array) -> float:
    """Largest absolute difference; infinite where shapes differ or a value is not finite."""
    if expected.shape != got.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    error = float(np.max(np.abs(expected.astype(np.float64) - got.astype(np.float64))))
    return error if np.isfinite(error) else float("inf")
