"""Replay golden samples through the whole path: raw bytes -> prepare -> run -> decode, against the checkpoint's.

Export calls it to prove, serving before it says ready. Knows a Predictor and its samples. Knows nothing of why it
is asked.
"""

import numpy as np

from bundle.errors import BadInput, ParityError
from bundle.golden import Golden
from bundle.preprocess import Prepared
from bundle.tensors import Tensors, max_abs_error
from runtime.predictor import Predictor


def replay(
    predictor: Predictor,
    samples: list[Golden],
    atol: float,
    batch_size: int | None = None,
    num_alone: int | None = None,
) -> None:
    """Check what preparing gives, what the engine gives (samples alone, and in company), and the answers.

    `atol` bounds how far each output may be from the checkpoint's (as the task's `differences` counts), on the
    checkpoint's own input rows. `batch_size` samples are in one call, and `num_alone` of them are run alone too; all,
    where nothing is said.

    Raises:
        ParityError: names the sample, the tensor, the error and the limit.
    """
    prepared = [_prepared(predictor, sample, i) for i, sample in enumerate(samples)]
    recorded = [sample.inputs for sample in samples]
    for i, sample in enumerate(samples[:num_alone]):
        _check_outputs(predictor, sample, predictor.run([sample.inputs])[0], f"golden sample {i} alone", atol)
    together = _run(predictor, recorded, batch_size)
    for i, (sample, row) in enumerate(zip(samples, together, strict=True)):
        _check_outputs(predictor, sample, row, f"golden sample {i} in a batch", atol)
    same = all(_equal(one.tensors, inputs) for one, inputs in zip(prepared, recorded, strict=True))
    # Where this machine prepares exactly what was recorded, its answers are read off what was just computed.
    rows = together if same else _run(predictor, [one.tensors for one in prepared], batch_size)
    options = predictor.task.golden_options()
    for i, (sample, one, row) in enumerate(zip(samples, prepared, rows, strict=True)):
        differs = predictor.task.agree(sample.answer, predictor.decode(row, one, options), atol)
        if differs:
            raise ParityError(f"golden sample {i}: the answer differs: {differs}")


def _run(predictor: Predictor, rows: list[Tensors], batch_size: int | None) -> list[Tensors]:
    size = batch_size or len(rows)
    return [row for start in range(0, len(rows), size) for row in predictor.run(rows[start : start + size])]


def _check_outputs(predictor: Predictor, sample: Golden, got: Tensors, what: str, atol: float) -> None:
    for name, error in predictor.task.differences(sample.outputs, got).items():
        _close(f"{what}: output '{name}'", error, atol)


def _equal(some: Tensors, others: Tensors) -> bool:
    return all(np.array_equal(array, others[name]) for name, array in some.items())


def _prepared(predictor: Predictor, sample: Golden, i: int) -> Prepared:
    """A sample as this machine prepares it, which may round otherwise, but not by more than its kind allows."""
    try:
        one = predictor.prepare(sample.raw)
    except BadInput as cause:
        raise ParityError(f"golden sample {i}: its raw input cannot be read on this machine: {cause}") from cause
    for name, expected in sample.inputs.items():
        error = max_abs_error(expected, one.tensors[name])
        _close(f"golden sample {i}: input '{name}'", error, predictor.manifest.preprocess.input_atol)
    return one


def _close(what: str, error: float, limit: float) -> None:
    if not error <= limit:
        raise ParityError(f"{what}: error {error:.3g} is over the limit {limit:.3g}")
