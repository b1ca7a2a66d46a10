"""A bundle is there whole or not at all, and each version has its own number."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from bundle.errors import BundleError
from bundle.store import MANIFEST_FILE, commit, hashes, names, newest, open_bundle, staging, versions
from tests.builders import FAKE_FILE, write_fake_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that may be spoilt."""
    return write_fake_bundle(tmp_path)


def test_a_bundle_that_was_written_opens(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert (bundle.manifest.name, bundle.manifest.version) == ("fake", 1)
    assert bundle.path(bundle.manifest.artefacts["fp32"]) == folder / FAKE_FILE
    assert len(bundle.golden()) == 3


def test_a_bundle_opens_in_another_repository(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "elsewhere" / "fake" / "1")
    assert open_bundle(copied).manifest == open_bundle(folder).manifest


def test_a_bundle_opens_by_a_relative_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert open_bundle(Path("1")).manifest.name == "fake"


def test_versions_count_up_from_one(tmp_path: Path) -> None:
    assert [write_fake_bundle(tmp_path).name for _ in range(3)] == ["1", "2", "3"]
    assert [open_bundle(tmp_path / "fake" / str(version)).manifest.version for version in (1, 2, 3)] == [1, 2, 3]


def test_the_next_version_follows_the_largest_even_where_one_was_removed(tmp_path: Path) -> None:
    shutil.rmtree([write_fake_bundle(tmp_path) for _ in range(3)][1])
    assert write_fake_bundle(tmp_path).name == "4"


def test_commits_at_once_each_get_a_version_of_their_own(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def export(_: int) -> Path:
        together.wait()
        return write_fake_bundle(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(export, range(8)))
    assert sorted(int(folder.name) for folder in folders) == list(range(1, 9))
    assert all(open_bundle(folder).manifest.version == int(folder.name) for folder in folders)


@pytest.mark.timeout(10)
def test_a_file_in_the_place_of_a_version_is_told_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "1").write_text("not a folder")
    with pytest.raises(BundleError, match="fake/1"):
        write_fake_bundle(tmp_path)


def fail_half_way(repository: Path) -> None:
    with staging(repository, "fake") as staged:
        (staged / "half.onnx").write_bytes(b"half")
        raise ZeroDivisionError


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_half_way(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_earlier_versions_alone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_half_way(tmp_path)
    assert list((tmp_path / "fake").iterdir()) == [folder]
    assert open_bundle(folder)


def test_failed_exports_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    def fail_often(_: int) -> None:
        for _ in range(100):
            with suppress(ZeroDivisionError):
                fail_half_way(tmp_path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fail_often, range(4)))
    assert list(tmp_path.iterdir()) == []


def test_a_successful_export_leaves_no_staging_folder(folder: Path) -> None:
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
    assert [path.name for path in folder.parent.parent.iterdir()] == ["fake"]


def test_a_bundle_being_written_is_neither_a_version_nor_a_model(tmp_path: Path) -> None:
    with staging(tmp_path, "fake") as staged:
        assert staged.name.startswith(".")
        assert versions(tmp_path, "fake") == []
        assert staged.name not in names(tmp_path)


def test_other_people_may_read_a_bundle(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["../x", "", ".", "a/b", "/tmp/x", "a.b"])  # noqa: S108 - a name, not a place
def test_a_bundle_cannot_be_staged_under_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="cannot be a model's name"), staging(tmp_path / "models", name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_positive_integers_are_versions(tmp_path: Path) -> None:
    for name in ("1", "10", "2", "0", "-1", "007", "1.5", "²", "x", "1x", ".staging-a", "latest"):
        (tmp_path / "fake" / name).mkdir(parents=True)
    (tmp_path / "fake" / "3").write_text("a file")
    assert versions(tmp_path, "fake") == [1, 2, 10]


def test_a_model_that_is_not_there_has_no_versions(tmp_path: Path) -> None:
    assert versions(tmp_path, "fake") == []


def test_models_are_the_folders_that_are_not_hidden(tmp_path: Path) -> None:
    for name in ("digits", "anomaly", ".staging-a", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").write_text("a file")
    assert names(tmp_path) == ["anomaly", "digits"]


def test_a_repository_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"{tmp_path}/nowhere: the model repository cannot be read"):
        names(tmp_path / "nowhere")


def test_every_file_but_the_manifest_is_hashed(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert hashes(folder).keys() == files - {MANIFEST_FILE}
    assert hashes(folder) == open_bundle(folder).manifest.files


def test_a_file_deeper_down_is_hashed_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / MANIFEST_FILE).write_text("{}")
    assert hashes(tmp_path).keys() == {f"tokenizer/{MANIFEST_FILE}"}


def test_a_commit_moves_the_staged_folder_to_its_place(tmp_path: Path) -> None:
    manifest = open_bundle(write_fake_bundle(tmp_path, "other")).manifest
    with staging(tmp_path, "fake") as staged:
        published = commit(staged, tmp_path, manifest.model_copy(update={"name": "fake"}))
        assert not staged.exists()
    assert published == tmp_path / "fake" / "1"


def test_the_newest_version_is_the_highest_number_and_none_is_told(tmp_path: Path) -> None:
    for version in ("2", "10", "9"):
        (tmp_path / "digits" / version).mkdir(parents=True)
    assert newest(tmp_path / "digits") == tmp_path / "digits/10"
    with pytest.raises(BundleError, match=r"nope: holds no version"):
        newest(tmp_path / "nope")
