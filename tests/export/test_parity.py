"""Parity finds each kind of difference, in order, and says what, how much, against which limit and where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="parity compares with torch")

from bundle.errors import ParityError
from bundle.manifest import Manifest
from bundle.store import Bundle
from bundle.tensors import Tensors, TensorSpec
from export.parity import Cases, check_parity, golden_cases, random_cases
from export.tolerance import TOLERANCES, Tolerance
from runtime.predictor import load_predictor
from runtime.runtime import Runtime
from training.checkpoint import load_checkpoint

LIMITS = TOLERANCES["fp32"]


class Changed:
    """A real engine whose declared tensors or answers were changed on the way out."""

    def __init__(
        self,
        engine: Runtime,
        change: Callable[[Tensors], Tensors] = lambda outputs: outputs,
        outputs: tuple[TensorSpec, ...] | None = None,
    ) -> None:
        self._engine, self._change = engine, change
        self.inputs = engine.inputs
        self.outputs = engine.outputs if outputs is None else outputs

    def run(self, batch: Tensors) -> Tensors:
        return self._change(self._engine.run(batch))


@pytest.fixture(scope="session")
def subject(tiny_run: Path, tiny_bundle: Bundle) -> tuple[Runtime, Manifest, list[Cases]]:
    _, graph = load_checkpoint(tiny_run)
    cases = [golden_cases(tiny_bundle.golden()), random_cases(tiny_bundle.manifest, graph)]
    return load_predictor(tiny_bundle, "fp32").runtime, tiny_bundle.manifest, cases


Subject = tuple[Runtime, Manifest, list[Cases]]


def test_an_honest_artefact_passes_every_check(subject: Subject) -> None:
    engine, manifest, cases = subject
    assert all(check.passed for check in check_parity(engine, manifest, cases, LIMITS))


def broken(subject: Subject, limits: Tolerance = LIMITS, **changes: object) -> str:
    engine, manifest, cases = subject
    with pytest.raises(ParityError) as error:
        check_parity(Changed(engine, **changes), manifest, cases, limits)  # type: ignore[arg-type]
    return str(error.value)


def test_a_renamed_output_is_found_first(subject: Subject) -> None:
    renamed = (TensorSpec(name="probs", dtype="float32", shape=("batch", 10)),)
    message = broken(subject, outputs=renamed, change=lambda outputs: {"probs": outputs["scores"] * np.nan})
    assert message.startswith("names: ")
    assert "'probs'" in message


def test_a_fixed_batch_axis_is_found(subject: Subject) -> None:
    message = broken(subject, outputs=(TensorSpec(name="scores", dtype="float32", shape=(1, 10)),))
    assert message.startswith("axes: ")
    assert "[1, 10], expected ['batch', 10]" in message


def test_a_lost_column_is_found_as_a_shape(subject: Subject) -> None:
    message = broken(subject, change=lambda outputs: {"scores": outputs["scores"][:, :9]})
    assert message.startswith("shapes: ")
    assert "[9], expected [10]" in message


def test_a_wrong_value_names_tensor_error_limit_and_sample(subject: Subject) -> None:
    def nudge(outputs: Tensors) -> Tensors:
        scores = outputs["scores"].copy()
        scores[-1, 3] += 0.5
        return {"scores": scores}

    message = broken(subject, change=nudge)
    assert message.startswith("values: 'scores', golden inputs, batch 1: largest error, at sample ")
    assert "0.5 is over the limit 1e-05" in message


def test_not_a_number_is_no_match(subject: Subject) -> None:
    message = broken(subject, change=lambda outputs: {"scores": outputs["scores"] * np.nan})
    assert message.startswith("values: ")


def test_a_row_that_depends_on_its_neighbours_is_found(subject: Subject) -> None:
    def mix(outputs: Tensors) -> Tensors:
        scores = outputs["scores"]
        return {"scores": scores + (2e-5 if len(scores) == 3 else 0.0)}

    # Limits of int8: the change itself is allowed, that it comes with company is not.
    message = broken(subject, limits=TOLERANCES["int8"], change=mix)
    assert message.startswith("values: 'scores', golden inputs, alone against batch 3: ")
