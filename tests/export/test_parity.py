"""Parity finds each kind of difference, in order, and says what, how much, against which limit and where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="parity compares with torch")

from bundle.errors import ParityError
from bundle.manifest import Manifest
from bundle.preprocess import TextTokens
from bundle.store import Bundle
from bundle.tasks import TASKS
from bundle.tasks.classification import ClassificationTask
from bundle.tensors import Tensors, TensorSpec, stack, unstack
from export.parity import Cases, check_parity, golden_cases, noise_cases
from export.tolerance import Tolerance, tolerance
from runtime.predictor import load_predictor
from runtime.runtime import Runtime
from training.answers import checkpoint_compute
from training.checkpoint import load_checkpoint

LIMITS = tolerance("image-classification", "fp32")


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
    manifest, golden = tiny_bundle.manifest, tiny_bundle.golden()
    cases = [golden_cases(golden), noise_cases(manifest, golden, checkpoint_compute(graph, ("scores",)))]
    return load_predictor(tiny_bundle, "fp32").runtime, manifest, cases


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
    message = broken(subject, limits=tolerance("image-classification", "int8"), change=mix)
    assert message.startswith("values: 'scores', golden inputs, alone against batch 3: ")


class Lenient(ClassificationTask):
    """A task to which no score matters, and that sees a difference of its own."""

    own = 0.0

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        return {"verdict": self.own}


class Strict(Lenient):
    own = 0.25


def nudge_all(outputs: Tensors) -> Tensors:
    return {"scores": outputs["scores"] + 0.5}


def test_the_task_says_what_counts_as_a_difference(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, manifest, cases = subject
    monkeypatch.setitem(TASKS, manifest.task, Lenient)
    checks = check_parity(Changed(engine, nudge_all), manifest, cases, LIMITS)
    assert {check.subject.partition(",")[0] for check in checks if check.kind == "values"} == {"'verdict'"}
    monkeypatch.setitem(TASKS, manifest.task, Strict)
    message = broken(subject)
    assert message.startswith("values: 'verdict', golden inputs, batch 1: ")
    assert "0.25 is over the limit 1e-05" in message


TEXTS = TextTokens(vocab_size=50, max_tokens=64, pad_to_multiple=4)
LARGEST = 5


class TextEngine:
    """Scores of a text are its share of each of the first ten ids; remembers the shape of every batch."""

    inputs = TEXTS.input_specs()
    outputs = (TensorSpec(name="scores", dtype="float32", shape=("batch", 10)),)

    def __init__(self, company: float = 0.0) -> None:
        self.shapes: set[tuple[int, ...]] = set()
        self._company = company

    def run(self, batch: Tensors) -> Tensors:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        self.shapes.add(ids.shape)
        counts = (ids[:, :, None] == np.arange(10)) * mask[:, :, None]
        scores = counts.sum(1) / np.maximum(mask.sum(1, keepdims=True), 1)
        return {"scores": (scores + self._company * (len(ids) - 1)).astype(np.float32)}


def text_subject(manifest: Manifest, lengths: list[int]) -> tuple[Manifest, list[Cases]]:
    rng = np.random.default_rng(0)
    rows = [TEXTS.row(rng.integers(0, 12, length).tolist()) for length in lengths]
    expected = [unstack(TextEngine().run(stack([row])))[0] for row in rows]
    changes = {"inputs": TEXTS.input_specs(), "preprocess": TEXTS, "max_batch_size": LARGEST}
    return manifest.model_copy(update=changes), [Cases("golden", rows, expected)]


def test_rows_of_unlike_shape_are_proven_at_every_batch_size_and_never_share_one(subject: Subject) -> None:
    manifest, cases = text_subject(subject[1], [3, 17, 4, 1, 2, 9, 16, 3, 4])
    engine = TextEngine()
    assert all(check.passed for check in check_parity(engine, manifest, cases, LIMITS))
    assert engine.shapes == {(size, length) for size in (1, 3, LARGEST) for length in (4, 12, 16, 20)}


def test_a_wrong_value_among_unlike_rows_is_found_at_its_own_place(subject: Subject) -> None:
    manifest, (case,) = text_subject(subject[1], [3, 17, 4, 9])
    case.expected[3]["scores"][2] += 0.5
    with pytest.raises(
        ParityError, match=r"values: 'scores', golden inputs, batch 1: largest error, at sample 3: 0\.5"
    ):
        check_parity(TextEngine(), manifest, [case], LIMITS)


def test_company_of_the_same_shape_is_still_found(subject: Subject) -> None:
    manifest, cases = text_subject(subject[1], [3, 17])
    limits = tolerance("image-classification", "int8")
    with pytest.raises(ParityError, match="alone against batch 3"):
        check_parity(TextEngine(company=1e-4), manifest, cases, limits)
