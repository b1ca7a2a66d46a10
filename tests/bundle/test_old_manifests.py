"""Old manifests stay loadable: one of each schema version is kept here as it was written."""

import json
import shutil
from pathlib import Path

import pytest

from bundle.manifest import SCHEMA_VERSION, digest_of
from bundle.store import read_manifest

KEPT = sorted((Path(__file__).parent / "manifests").glob("v*.json"))


def test_one_of_each_schema_version_is_kept() -> None:
    assert [path.stem for path in KEPT] == [f"v{version}" for version in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_an_old_manifest_can_be_read_with_its_evidence_and_digest(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "manifest.json")
    manifest = read_manifest(tmp_path)
    assert manifest.digest == digest_of(json.loads(path.read_bytes()))
    for artefact in manifest.artefacts.values():
        assert artefact.evidence is not None
        assert artefact.evidence.shortfall() is None
