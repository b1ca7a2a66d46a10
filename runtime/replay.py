"""Replay golden samples through the whole path: raw bytes -> prepare -> run -> decode, against the checkpoint's.

Export calls it to prove, serving before it says ready. Knows a Predictor and its samples. Knows nothing of why it
is asked.
"""

from bundle.errors import BadInput, ParityError
from bundle.golden import Golden
from bundle.preprocess import Prepared
from bundle.tensors import max_abs_error
from runtime.predictor import Predictor


def replay(predictor: Predictor, samples: list[Golden], atol: float) -> None:
    """Check what preparing gives, what the engine gives (each sample alone, and all in one call), and the answers.

    `atol` bounds how far each output may be from the checkpoint's (as the task's `differences` counts), on the
    checkpoint's own input rows.

    Raises:
        ParityError: names the sample, the tensor, the error and the limit.
    """
    for i, sample in enumerate(samples):
        one = _prepare(predictor, sample, i)
        for name, expected in sample.inputs.items():
            error = max_abs_error(expected, one.tensors[name])
            _close(f"golden sample {i}: input '{name}'", error, predictor.manifest.preprocess.input_atol)
    together = predictor.run([sample.inputs for sample in samples])
    for i, (sample, row) in enumerate(zip(samples, together, strict=True)):
        alone = predictor.run([sample.inputs])[0]
        for company, got in (("alone", alone), ("in a batch", row)):
            for name, error in predictor.task.differences(sample.outputs, got).items():
                _close(f"golden sample {i} {company}: output '{name}'", error, atol)
    answers = predictor.predict([sample.raw for sample in samples], predictor.task.golden_options())
    for i, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
        differs = predictor.task.agree(sample.answer, answer, atol)
        if differs:
            raise ParityError(f"golden sample {i}: the answer differs: {differs}")


def _prepare(predictor: Predictor, sample: Golden, i: int) -> Prepared:
    try:
        return predictor.prepare(sample.raw)
    except BadInput as cause:
        raise ParityError(f"golden sample {i}: its raw input cannot be read on this machine: {cause}") from cause


def _close(what: str, error: float, limit: float) -> None:
    if not error <= limit:
        raise ParityError(f"{what}: error {error:.3g} is over the limit {limit:.3g}")
