"""A look at a repository: what counts as a version, and what counts as a change."""

import os
from pathlib import Path

import pytest

from bundle.errors import BundleError
from bundle.store import MANIFEST_FILE
from bundle.store import versions as store_versions
from serving.repository import scan as scan_module
from serving.repository.scan import GONE, fingerprint, scan, scan_model
from tests.builders import FAKE_FILE
from tests.serving.repositories import publish, write_settings


def test_versions_are_folders_with_a_manifest(tmp_path: Path) -> None:
    publish(tmp_path)
    for name in ("2", ".3", "04", "notes"):
        (tmp_path / "fake" / name).mkdir()
    (tmp_path / "fake" / "5").touch()
    (found,) = scan(tmp_path).values()
    assert list(found.versions) == [1]
    assert found.unfinished == (2,)
    assert found.settings == ()


def test_nothing_changes_between_two_looks_at_the_same(tmp_path: Path) -> None:
    publish(tmp_path)
    assert scan(tmp_path) == scan(tmp_path)


@pytest.mark.parametrize("file", [FAKE_FILE, MANIFEST_FILE, "golden/00.png", "golden/answers.json"])
def test_a_change_of_any_file_is_seen(tmp_path: Path, file: str) -> None:
    bundle = publish(tmp_path)
    before = fingerprint(bundle)
    (bundle / file).write_bytes((bundle / file).read_bytes() + b" ")
    assert fingerprint(bundle) != before


def test_a_copy_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    bundle = publish(tmp_path)
    before, artefact = fingerprint(bundle), bundle / FAKE_FILE
    times = artefact.stat()
    while fingerprint(bundle) == before:  # the clock of a file system may stand still for some milliseconds
        artefact.write_bytes(artefact.read_bytes())
        os.utime(artefact, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert artefact.stat().st_mtime_ns == times.st_mtime_ns


def test_files_that_come_and_go_are_seen(tmp_path: Path) -> None:
    bundle = publish(tmp_path)
    before = fingerprint(bundle)
    (bundle / "more").touch()
    assert fingerprint(bundle) != before
    (bundle / "more").unlink()
    (bundle / "golden" / "00.png").unlink()
    assert fingerprint(bundle) != before


def test_a_change_of_settings_is_seen(tmp_path: Path) -> None:
    publish(tmp_path)
    before = scan_model(tmp_path, "fake")
    write_settings(tmp_path, "max_queue = 3")
    after = scan_model(tmp_path, "fake")
    assert after != before
    assert after.versions == before.versions


def test_a_pipe_is_never_read_and_never_changes(tmp_path: Path) -> None:
    folder = tmp_path / "fake" / "1"
    folder.mkdir(parents=True)
    os.mkfifo(folder / MANIFEST_FILE)
    before = scan_model(tmp_path, "fake")
    os.utime(folder / MANIFEST_FILE)
    assert scan_model(tmp_path, "fake") == before
    assert list(before.versions) == [1]


def test_a_link_that_leads_nowhere_is_seen_as_missing(tmp_path: Path) -> None:
    bundle = publish(tmp_path)
    (bundle / "golden" / "00.png").unlink()
    (bundle / "golden" / "00.png").symlink_to(tmp_path / "nowhere")
    assert "golden/00.png" not in [file for file, *_ in fingerprint(bundle)]


def test_a_model_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert scan_model(tmp_path, "fake") == GONE


def test_a_repository_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the model repository cannot be read"):
        scan(tmp_path / "models")


def test_engines_in_a_version_and_in_its_cache_are_a_part_of_it(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    publish(tmp_path / "models")
    cache = tmp_path / "cache"
    looks = [scan(tmp_path / "models", cache)["fake"].versions]
    for place in (tmp_path / "models/fake/1/engines", cache / "fake/1-0123456789ab"):
        place.mkdir(parents=True)
        (place / "a.json").touch()
        looks.append(scan_model(tmp_path / "models", "fake", cache).versions)
    first, second, third = (look[1] for look in looks)
    assert first != second != third
    assert looks[0][2] == looks[1][2] == looks[2][2], "the other version is as it was"
    assert scan(tmp_path / "models")["fake"].versions[1] == second, "nobody looks into a cache that is not used"


@pytest.mark.parametrize("other", ["10-0123456789ab", "11-0123456789ab", "1"])
def test_the_cache_of_another_version_changes_nothing(tmp_path: Path, other: str) -> None:
    publish(tmp_path / "models")
    before = scan(tmp_path / "models", tmp_path / "cache")
    (tmp_path / "cache/fake" / other).mkdir(parents=True)
    (tmp_path / "cache/fake" / other / "a.json").touch()
    assert scan(tmp_path / "models", tmp_path / "cache") == before


def test_a_model_whose_folder_cannot_be_looked_into_keeps_no_other_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    publish(tmp_path, name="shut")

    def denied(repository: Path, name: str) -> list[int]:
        if name == "shut":
            raise PermissionError(13, "Permission denied")
        return store_versions(repository, name)

    monkeypatch.setattr(scan_module, "versions", denied)
    found = scan(tmp_path)
    assert list(found["fake"].versions) == [1]
    assert (found["shut"].versions, found["shut"].is_folder) == ({}, True)
    assert "Permission denied" in found["shut"].problem


def test_a_version_whose_manifest_may_not_be_seen_is_there_to_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(scan_module.os, "stat", denied)
    assert list(scan_module._entry(tmp_path / "fake" / "1", MANIFEST_FILE)) == [(MANIFEST_FILE, 0, 0, 13)]
