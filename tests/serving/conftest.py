"""Repositories of fake bundles, and servers over them: one process a pytest worker, kept for the whole session."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bundle.store import open_bundle
from runtime.predictor import Predictor, load_predictor
from tests.builders import png, write_fake_bundle
from tests.serving.running import SMALL_LIMITS, Server, running
from tests.serving.tampering import TAMPERINGS


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MODELYARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good model, 'fake'."""
    folder = tmp_path_factory.mktemp("models")
    write_fake_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def predictor(repository: Path) -> Predictor:
    """The same model in this process: the answers that every other way must give."""
    return load_predictor(open_bundle(repository / "fake" / "1"))


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that serves 'fake' with small limits."""
    with running(repository, tmp_path_factory.mktemp("server"), *SMALL_LIMITS) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.fixture
def client(server: Server) -> httpx.Client:
    return server.client


@pytest.fixture
def still_answers(server: Server) -> Iterator[None]:
    """Whatever the test sent, afterwards the same process answers a good request."""
    yield
    response = server.client.post("/v1/classify", content=png())
    assert response.status_code == 200, response.text
    assert server.process.poll() is None


@pytest.fixture(scope="session")
def tampered_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good models, 'alpha' and 'beta', among one for every kind of tampering."""
    folder = tmp_path_factory.mktemp("tampered")
    write_fake_bundle(folder, "alpha")
    write_fake_bundle(folder, "beta", labels=("red", "green"))
    for name, tampering in TAMPERINGS.items():
        tampering.damage(write_fake_bundle(folder, name))
    return folder


@pytest.fixture(scope="session")
def tampered_server(tampered_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that serves 'alpha' and 'beta' and refuses the others."""
    with running(tampered_repository, tmp_path_factory.mktemp("server")) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server
