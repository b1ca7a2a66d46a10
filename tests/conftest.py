"""Fixtures shared by packages: a tiny trained run and a bundle made from it, once a test process."""

import os
import signal
from pathlib import Path

import pytest

# Before torch is imported, and for every process that tests start: test processes share the cores already, and threads
# of several trainings that wait for each other by spinning make all of them ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a script begins with `&` ignores SIGINT, and so would every command that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from bundle.store import Bundle, open_bundle
from tests.builders import write_fake_bundle
from tests.gpu import missing

LONGEST = (
    "tests/e2e/test_readme.py",
    "tests/export/test_import_hf.py",
    "tests/training/test_run.py",
    "tests/conformance/test_engines.py",
    "tests/scoring/test_ray.py",
    "tests/scoring/test_commands.py",
    "tests/serving/workers/test_workers.py",
    "tests/scoring/test_killed.py",
    "tests/conformance/test_architectures.py",
    "tests/loadtests/test_gpu_bench.py",
    "tests/conformance/test_runtimes.py",
    "tests/e2e/test_line.py",
    "tests/export/test_left_out.py",
    "tests/export/test_package.py",
)
"""Files that take half a minute and more, longest first: one of them begun last would run alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; skip what needs a GPU where there is none, saying why."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0], len(rank)))
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
