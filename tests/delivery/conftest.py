"""Bundles to fetch, and an S3 to fetch them from."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from delivery import patience
from modelyard import main
from tests.builders import write_fake_bundle
from tests.scoring.s3 import Store, serving_s3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository of two models, one of them with two versions."""
    repository = tmp_path / "source"
    write_fake_bundle(repository, "digits")
    write_fake_bundle(repository, "digits", labels=("x", "y", "z"))
    write_fake_bundle(repository, "shapes")
    return repository


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The repository that is fetched into; it is not there yet."""
    return tmp_path / "models"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience as long in attempts, and short in time."""
    monkeypatch.setattr(patience, "PAUSES_S", (0.01,) * len(patience.PAUSES_S))


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    pytest.importorskip("moto", reason="moto's S3 belongs to the dev extra")
    pytest.importorskip("obstore", reason="obstore belongs to the fetch extra")
    with serving_s3() as store:
        yield store


@pytest.fixture
def fetch(models: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], str]]:
    """Run the command in this process: exit code, lines of standard output, standard error."""

    def run(*arguments: object) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = 0
        try:
            main(["fetch", *map(str, arguments), "--repository", str(models)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return run
