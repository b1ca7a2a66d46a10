"""A task is one file name in several folders and one line in each table: these tests name the line that is missing."""

from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from bundle.golden import SUFFIXES
from bundle.preprocess import PREPARE, Preprocess
from bundle.tasks import TASKS
from runtime.runtime import RUNTIMES, runtime_class
from serving.endpoints import ENDPOINTS
from tests.conformance.examples import EXAMPLES, KINDS

ROOT = Path(__file__).parents[2]
FRAMES = {"__init__", "task", "endpoint", "architecture"}
UNTRAINED = {"sentence-embedding": "sentence_embedding"}
"""Task -> its file. No labelled data says which vector is right: such a model is imported, never trained here."""


def modules(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob("*.py")} - FRAMES


def kinds() -> set[str]:
    """Of the union, as the manifest's schema has it."""
    union, _ = get_args(Preprocess)
    return {member.model_fields["kind"].default for member in get_args(union)}


def test_a_task_has_the_same_file_everywhere() -> None:
    assert modules("bundle/tasks") == modules("serving/endpoints")
    assert modules("bundle/tasks") - set(UNTRAINED.values()) == modules("training/tasks")
    assert set(UNTRAINED.values()) <= modules("bundle/tasks")


def test_a_task_is_defined_in_a_file_of_its_own() -> None:
    listed = {task_type.__module__.rpartition(".")[2] for task_type in TASKS.values()}
    assert listed == modules("bundle/tasks")
    assert len(listed) == len(TASKS)


def test_every_task_has_an_endpoint_of_its_own_types() -> None:
    assert set(ENDPOINTS) == set(TASKS)
    for task_id, endpoint in ENDPOINTS.items():
        assert endpoint.task == task_id
        assert endpoint.options_type is TASKS[task_id].options_type
        assert endpoint.result_type is TASKS[task_id].result_type
        takes_format = "format" in endpoint.options_type.__struct_fields__
        assert takes_format == (endpoint.render is not None), f"{task_id}: format=png is for what can be drawn"
    paths = [endpoint.path for endpoint in ENDPOINTS.values()]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("task_id", TASKS)
def test_every_endpoint_takes_what_its_task_is_prepared_from(task_id: str) -> None:
    media_type = KINDS[EXAMPLES[task_id].preprocess.kind].media_type
    assert media_type in ENDPOINTS[task_id].medium.accepts
    assert media_type in SUFFIXES


@pytest.mark.parametrize("key", RUNTIMES)
def test_every_runtime_can_be_imported(key: str) -> None:
    assert callable(runtime_class(key))


def test_every_kind_of_preprocessing_has_its_function() -> None:
    assert set(PREPARE) == kinds()
    assert all(callable(function) for function in PREPARE.values())


def test_every_kind_of_preprocessing_has_an_example() -> None:
    assert set(KINDS) == kinds()
    for key, kind in KINDS.items():
        assert {spec.kind for spec in kind.preprocess} == {key}
        assert all(set(spec.assets()) == set(kind.assets) for spec in kind.preprocess)


def test_every_kind_of_preprocessing_has_a_stem() -> None:
    pytest.importorskip("torch", reason="stems are torch modules")
    assert set(import_module("training.graph").STEMS) == kinds()


def test_every_kind_of_preprocessing_has_noise() -> None:
    pytest.importorskip("torch", reason="noise belongs to export")
    assert set(import_module("export.noise").NOISE) == kinds()


def test_every_task_has_its_tolerances() -> None:
    pytest.importorskip("torch", reason="tolerances belong to export")
    tolerances = import_module("export.tolerance").TOLERANCES
    assert set(tolerances) == set(TASKS)
    assert {task_id for task_id, limits in tolerances.items() if not {"fp32", "int8"} <= set(limits)} == set()


def training_tables() -> list[tuple[str, str, str]]:
    pytest.importorskip("torch", reason="these tables belong to the training extra")
    return [
        (f"training.{name}", table, folder)
        for name, table, folder in (
            ("tasks", "TASKS", "training/tasks"),
            ("architectures", "ARCHITECTURES", "training/architectures"),
            ("recipes", "RECIPES", "training/recipes"),
        )
    ]


def test_every_training_file_is_in_its_table_and_every_line_leads_to_one() -> None:
    for package, table, folder in training_tables():
        targets = getattr(import_module(package), table).values()
        listed = {target.partition(":")[0].rpartition(".")[2] for target in targets}
        assert listed == modules(folder), f"{package}.{table} against {folder}/"


def test_every_task_can_be_trained_or_says_why_not() -> None:
    pytest.importorskip("torch", reason="training tasks belong to the training extra")
    assert set(import_module("training.tasks").TASKS) == set(TASKS) - set(UNTRAINED)


def test_every_trained_task_has_an_architecture_and_every_architecture_a_task() -> None:
    pytest.importorskip("torch", reason="architectures belong to the training extra")
    architectures = import_module("training.architectures")
    tasks = {key: set(architectures.architecture_type(key).tasks) for key in architectures.ARCHITECTURES}
    assert [key for key, named in tasks.items() if not named] == []
    assert set().union(*tasks.values()) == set(import_module("training.tasks").TASKS)
