"""Bundles to score with, and a store like Amazon's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import write_fake_bundle
from tests.scoring.running import write_example_bundle
from tests.scoring.s3 import KEYS, Store, serving_s3


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def picture_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_bundle(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def series_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example_bundle(tmp_path_factory.mktemp("models"), "series-anomaly-detection")


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example_bundle(tmp_path_factory.mktemp("models"), "text-classification")


@pytest.fixture(scope="session")
def mask_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example_bundle(tmp_path_factory.mktemp("models"), "image-segmentation")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Store]:
    pytest.importorskip("moto.server", reason="the stand-in for S3 is not installed")
    with serving_s3() as store:
        yield store


@pytest.fixture
def s3(s3_server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The same with the keys in this process's environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return s3_server
