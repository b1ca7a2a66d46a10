"""Every task: outputs of its declared form decode to an answer that survives JSON and agrees with itself."""

from math import inf
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pydantic import TypeAdapter

from bundle.store import open_bundle
from bundle.tasks import TASKS, Decode
from bundle.tensors import Tensors, stack
from runtime.predictor import load_predictor
from runtime.replay import replay
from tests.builders import write_fake_task_bundle
from tests.conformance.examples import EXAMPLES, KINDS, Example

SEEDS = range(6)


def test_every_task_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(TASKS)


@pytest.fixture(params=TASKS)
def task_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def example(task_id: str) -> Example:
    return EXAMPLES[task_id]


@pytest.fixture
def task(task_id: str, example: Example):
    return TASKS[task_id](example.decode)


def outputs_of(task, example: Example, seed: int) -> Tensors:
    """One row: uniform in 0..1, whole numbers 0, 1 or 2."""
    rng = np.random.default_rng(seed)
    row = {}
    for spec in task.output_specs(example.preprocess):
        dtype, shape = np.dtype(spec.dtype), spec.shape[1:]
        drawn = rng.random(shape) if dtype.kind == "f" else rng.integers(0, 3, shape)
        row[spec.name] = np.asarray(drawn).astype(dtype)
    return example.plausible(row)


def answer_of(task, example: Example, seed: int):
    return task.decode(outputs_of(task, example, seed), example.source, task.golden_options())


def test_parameters_are_of_the_tasks_own_type_and_of_the_manifests_union(task, example: Example) -> None:
    assert type(example.decode) is task.decode_type
    written = TypeAdapter(Decode).dump_python(example.decode, mode="json")
    assert TypeAdapter(Decode).validate_python(written) == example.decode


def test_outputs_have_names_of_their_own_and_the_batch_as_first_axis(task, example: Example) -> None:
    specs = task.output_specs(example.preprocess)
    assert len({spec.name for spec in specs}) == len(specs) > 0
    assert all(spec.shape[0] == "batch" for spec in specs)
    batch = stack([outputs_of(task, example, seed) for seed in SEEDS])
    assert [spec.mismatch(batch[spec.name]) for spec in specs] == [None] * len(specs)


@pytest.mark.parametrize("options", ["golden", "default"])
def test_an_answer_is_of_the_declared_type_and_survives_json(options: str, task, example: Example) -> None:
    chosen = task.golden_options() if options == "golden" else task.options_type()
    assert isinstance(chosen, task.options_type)
    answer = task.decode(outputs_of(task, example, 0), example.source, chosen)
    assert type(answer) is task.result_type
    assert msgspec.json.decode(msgspec.json.encode(answer), type=task.result_type) == answer


def test_an_answer_agrees_with_itself_at_no_tolerance(task, example: Example) -> None:
    for seed in SEEDS:
        assert task.agree(answer_of(task, example, seed), answer_of(task, example, seed), 0.0) is None


def test_an_answer_that_is_another_is_told(task, example: Example) -> None:
    answers = [answer_of(task, example, seed) for seed in SEEDS]
    assert any(task.agree(answers[0], other, 0.0) for other in answers[1:])


def test_a_row_does_not_differ_from_itself(task, example: Example) -> None:
    for seed in SEEDS:
        row = outputs_of(task, example, seed)
        again = {name: array.copy() for name, array in row.items()}
        assert task.differences(row, again) == dict.fromkeys(row, 0.0)


def test_a_row_differs_from_another(task, example: Example) -> None:
    rows = [outputs_of(task, example, seed) for seed in SEEDS]
    assert all(max(task.differences(rows[0], other).values()) > 0 for other in rows[1:])


def test_another_shape_of_any_output_is_infinitely_far(task, example: Example) -> None:
    row = outputs_of(task, example, 0)
    for name, array in row.items():
        longer = np.concatenate([np.atleast_1d(array)] * 2)
        assert inf in task.differences(row, row | {name: longer}).values(), name


def test_what_is_no_number_is_infinitely_far(task, example: Example) -> None:
    row = outputs_of(task, example, 0)
    for name, array in row.items():
        if array.dtype.kind == "f":
            for value in (np.nan, np.inf):
                broken = array.copy()
                broken.flat[0] = value
                assert inf in task.differences(row, row | {name: np.asarray(broken)}).values(), (name, value)


def test_decoding_does_not_change_the_outputs(task, example: Example) -> None:
    outputs = outputs_of(task, example, 0)
    before = {name: array.copy() for name, array in outputs.items()}
    for options in (task.options_type(), task.golden_options()):
        task.decode(outputs, example.source, options)
    assert all(np.array_equal(before[name], outputs[name]) for name in outputs)


def test_reference_statistics_are_finite_shares(task, example: Example) -> None:
    for seeds in (SEEDS, range(1)):
        statistics = task.summarise([answer_of(task, example, seed) for seed in seeds])
        assert statistics
        for name, values in statistics.items():
            assert min(values) >= 0, name
            assert np.isclose(sum(values), 1.0), name


def test_a_bundle_of_it_opens_and_answers_its_golden_samples(task_id: str, example: Example, tmp_path: Path) -> None:
    kind = KINDS[example.preprocess.kind]
    raws = [(kind.media_type, raw) for raw in kind.raws]
    written = write_fake_task_bundle(tmp_path, "fake", task_id, example.preprocess, example.decode, raws, kind.assets)
    bundle = open_bundle(written)
    golden = bundle.golden()
    assert [sample.raw for sample in golden] == list(kind.raws)
    replay(load_predictor(bundle), golden, 1e-6)
