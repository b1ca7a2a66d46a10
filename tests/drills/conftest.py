"""A repository of each drill's own, since drills break it, and a place for what was seen."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import write_fake_bundle

Seen = Callable[[object], None]


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MODELYARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """One good model, 'fake'."""
    write_fake_bundle(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Seen:
    """Say what was seen, for the report of `make drills`."""
    return lambda what: record_property("seen", str(what))
