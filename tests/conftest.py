"""Fixtures shared by packages: a tiny trained run and a bundle made from it, once a test process."""

import os
from pathlib import Path

import pytest

# Before torch is imported, and for every process that tests start: test processes share the cores already, and threads
# of several trainings that wait for each other by spinning make all of them ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from bundle.store import Bundle, open_bundle
from tests.builders import write_fake_bundle
from tests.gpu import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, saying why."""
    for item in items:
        if item.get_closest_marker("gpu") and missing():
            item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {missing()}"))


@pytest.fixture
def fake_bundle(tmp_path: Path) -> Bundle:
    """A bundle around the fake runtime, in a repository of its own."""
    return open_bundle(write_fake_bundle(tmp_path / "models"))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: digits, three epochs of a small network."""
    pytest.importorskip("torch", reason="training needs torch")
    from tests.training.tiny import tiny_config
    from training.run import train

    return train(tiny_config(), tmp_path_factory.mktemp("runs"), "digits_cnn")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle exported from `tiny_run`."""
    from export.package import export_run

    return open_bundle(export_run(tiny_run, tmp_path_factory.mktemp("models"), max_batch_size=8))
