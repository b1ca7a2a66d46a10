"""Every task: outputs of its declared form decode to an answer that survives JSON and agrees with itself."""

import msgspec
import numpy as np
import pytest

from bundle.preprocess import ImageSource
from bundle.tasks import TASKS
from bundle.tasks.classification import ClassificationDecode
from bundle.tensors import Tensors

PARAMETERS = {
    "image-classification": ClassificationDecode(labels=("cat", "dog", "owl")),
}
"""Decode parameters of a small example of each task."""


def test_every_task_has_an_example_here() -> None:
    assert set(PARAMETERS) == set(TASKS)


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest):
    return TASKS[request.param](PARAMETERS[request.param])


def outputs_of(task, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {spec.name: rng.random(spec.shape[1:]).astype(spec.dtype) for spec in task.output_specs()}


def answer_of(task, seed: int):
    return task.decode(outputs_of(task, seed), ImageSource(10, 20), task.golden_options())


def test_parameters_are_of_the_tasks_own_type(task) -> None:
    assert any(isinstance(parameters, task.decode_type) for parameters in PARAMETERS.values())


def test_the_batch_is_the_first_axis_of_every_output(task) -> None:
    assert all(spec.shape[0] == "batch" for spec in task.output_specs())


def test_an_answer_survives_json(task) -> None:
    answer = answer_of(task, 0)
    assert msgspec.json.decode(msgspec.json.encode(answer), type=task.result_type) == answer


def test_an_answer_agrees_with_itself_at_no_tolerance(task) -> None:
    assert task.agree(answer_of(task, 0), answer_of(task, 0), 0.0) is None


def test_decoding_does_not_change_the_outputs(task) -> None:
    outputs = outputs_of(task, 0)
    before = {name: array.copy() for name, array in outputs.items()}
    task.decode(outputs, ImageSource(10, 20), task.options_type())
    assert all(np.array_equal(before[name], outputs[name]) for name in outputs)


def test_reference_statistics_are_finite_shares(task) -> None:
    statistics = task.summarise([answer_of(task, seed) for seed in range(5)])
    assert statistics
    for values in statistics.values():
        assert np.isclose(sum(values), 1.0)
