"""A task is one file name in several folders and one line in each table: these tests name the line that is missing."""

from importlib import import_module
from pathlib import Path

import pytest

from bundle.preprocess import PREPARE
from bundle.tasks import TASKS
from runtime.runtime import RUNTIMES, runtime_class
from serving.endpoints import ENDPOINTS

ROOT = Path(__file__).parents[2]
FRAMES = {"__init__", "task", "endpoint", "architecture"}


def modules(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob("*.py")} - FRAMES


def test_a_task_has_the_same_file_everywhere() -> None:
    assert modules("bundle/tasks") == modules("training/tasks") == modules("serving/endpoints")


def test_every_task_has_an_endpoint_of_its_own_types() -> None:
    assert set(ENDPOINTS) == set(TASKS)
    for task_id, endpoint in ENDPOINTS.items():
        assert endpoint.task == task_id
        assert endpoint.options_type is TASKS[task_id].options_type
        assert endpoint.result_type is TASKS[task_id].result_type
    paths = [endpoint.path for endpoint in ENDPOINTS.values()]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("key", RUNTIMES)
def test_every_runtime_can_be_imported(key: str) -> None:
    assert callable(runtime_class(key))


def test_every_kind_of_preprocessing_has_its_function() -> None:
    assert all(callable(function) for function in PREPARE.values())


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


def test_every_task_can_be_trained() -> None:
    pytest.importorskip("torch", reason="training tasks belong to the training extra")
    assert set(import_module("training.tasks").TASKS) == set(TASKS)
