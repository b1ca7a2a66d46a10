"""A server with a model of every medium, one process a pytest worker."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bundle.store import open_bundle
from runtime.predictor import Predictor, load_predictor
from tests.builders import write_fake_bundle
from tests.serving.embedder import write_fake_embedder
from tests.serving.oip.manifests import write_fake_series
from tests.serving.running import SMALL_LIMITS, Server, running
from tests.serving.tampering import TAMPERINGS

REFUSED = "damaged"


@pytest.fixture(scope="session")
def oip_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good models, and one that is refused."""
    folder = tmp_path_factory.mktemp("oip")
    write_fake_bundle(folder, "pictures")
    write_fake_series(folder, "beats")
    write_fake_embedder(folder, "embedder")
    next(iter(TAMPERINGS.values())).damage(write_fake_bundle(folder, REFUSED))
    return folder


@pytest.fixture(scope="session")
def oip_server(oip_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(oip_repository, tmp_path_factory.mktemp("server"), *SMALL_LIMITS) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.fixture
def oip(oip_server: Server) -> httpx.Client:
    return oip_server.client


@pytest.fixture(scope="session")
def pictures(oip_repository: Path) -> Predictor:
    return load_predictor(open_bundle(oip_repository / "pictures" / "1"))


@pytest.fixture(scope="session")
def beats(oip_repository: Path) -> Predictor:
    return load_predictor(open_bundle(oip_repository / "beats" / "1"))


@pytest.fixture(scope="session")
def embedder(oip_repository: Path) -> Predictor:
    return load_predictor(open_bundle(oip_repository / "embedder" / "1"))
