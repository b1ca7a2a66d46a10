"""`modelyard fetch` from a folder: what comes, what is left, what is refused; the laws that hold for every source."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.store import MANIFEST_FILE, names, open_bundle
from delivery import bring
from delivery.room import FOLDER
from tests.builders import write_fake_bundle

Fetch = Callable[..., tuple[int, list[str], str]]
ROOT = Path(__file__).parents[2]
ARTEFACT = "model.fake.json"


def test_a_repository_gives_the_newest_of_each_model(fetch: Fetch, source: Path, models: Path) -> None:
    code, printed, told = fetch(source)
    assert (code, printed) == (0, [f"{models}/digits/2", f"{models}/shapes/1"])
    assert [open_bundle(Path(folder)).manifest.name for folder in printed] == ["digits", "shapes"]
    assert not (models / "digits/1").exists()
    assert "digits version 2: 7 files" in told
    assert "every sha256 as in the manifest" in told
    assert names(models) == ["digits", "shapes"]
    assert left_in_room(models) == []


def test_all_versions_come_where_that_is_asked_for(fetch: Fetch, source: Path, models: Path) -> None:
    assert fetch(source, "--versions", "all")[1] == [f"{models}/digits/1", f"{models}/digits/2", f"{models}/shapes/1"]


@pytest.mark.parametrize(("part", "expected"), [("digits", "digits/2"), ("digits/1", "digits/1")])
def test_a_model_and_a_bundle_are_sources_too(
    fetch: Fetch, source: Path, models: Path, part: str, expected: str
) -> None:
    assert fetch(source / part)[:2] == (0, [f"{models}/{expected}"])


def test_a_bundle_is_known_by_its_manifest_whatever_its_folder_is_called(
    fetch: Fetch, source: Path, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(source / "digits/2", tmp_path / "release")
    assert fetch(tmp_path / "release")[:2] == (0, [f"{models}/digits/2"])


def test_several_sources_are_fetched_in_order(fetch: Fetch, source: Path, models: Path) -> None:
    assert fetch(source / "shapes", source / "digits/1")[1] == [f"{models}/shapes/1", f"{models}/digits/1"]


def test_what_is_there_and_valid_is_left_as_it_is(fetch: Fetch, source: Path, models: Path) -> None:
    fetch(source)
    before = (models / "digits/2" / ARTEFACT).stat()
    code, printed, told = fetch(source)
    assert (code, len(printed)) == (0, 2)
    assert "digits version 2: is there" in told
    after = (models / "digits/2" / ARTEFACT).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_what_is_there_and_damaged_is_noticed_by_its_hashes_and_fetched_again(
    fetch: Fetch, source: Path, models: Path
) -> None:
    fetch(source)
    flip(models / "digits/2" / ARTEFACT)
    assert "is there" in fetch(source)[2]  # not looked into without --verify
    code, _, told = fetch(source, "--verify")
    assert code == 0
    assert f"{ARTEFACT}: its sha256 is" in told
    open_bundle(models / "digits/2")
    assert left_in_room(models) == []


@pytest.mark.parametrize("missing", [ARTEFACT, MANIFEST_FILE])
def test_what_is_there_in_parts_is_fetched_again(fetch: Fetch, source: Path, models: Path, missing: str) -> None:
    fetch(source)
    (models / "digits/2" / missing).unlink()
    code, _, told = fetch(source)
    assert code == 0
    assert "fetched again" in told
    open_bundle(models / "digits/2")


def test_another_valid_bundle_of_that_version_is_never_replaced(fetch: Fetch, source: Path, models: Path) -> None:
    write_fake_bundle(models, "digits", labels=("p", "q", "r"))
    write_fake_bundle(models, "digits", labels=("p", "q", "r"))
    before = open_bundle(models / "digits/2").manifest.digest
    code, printed, told = fetch(source / "digits")
    assert (code, printed) == (1, [])
    assert "a version is never replaced; publish it as a new version" in told
    assert open_bundle(models / "digits/2").manifest.digest == before


def test_a_flipped_byte_is_found_and_nothing_is_there(fetch: Fetch, source: Path, models: Path) -> None:
    flip(source / "digits/2" / ARTEFACT)
    code, printed, told = fetch(source)
    assert (code, printed) == (1, [])
    assert f"{source}/digits/2/{ARTEFACT}: its sha256 is" in told
    assert not (models / "digits").exists()
    assert left_in_room(models) == []


def test_a_file_that_was_cut_short_is_found(fetch: Fetch, source: Path, models: Path) -> None:
    os.truncate(source / "digits/2" / ARTEFACT, 10)
    code, _, told = fetch(source / "digits")
    assert (code, f"{ARTEFACT}: its sha256 is" in told) == (1, True)
    assert names(models) == []


def test_a_missing_file_is_named_before_anything_is_fetched(fetch: Fetch, source: Path, models: Path) -> None:
    (source / "shapes/1/golden/01.png").unlink()
    code, printed, told = fetch(source)
    assert (code, printed) == (1, [])
    assert f"{source}/shapes/1: lacks golden/01.png, which its manifest.json names" in told
    assert names(models) == []


def test_files_that_no_manifest_names_are_told_and_stay_where_they_are(
    fetch: Fetch, source: Path, models: Path
) -> None:
    (source / "digits/2/engines").mkdir()
    (source / "digits/2/engines/gpu.plan").write_bytes(b"code")
    (source / "README.md").touch()
    (source / "digits/serving.toml").touch()
    (source / "digits/3").mkdir()  # somebody is still copying
    (source / "not a model!").mkdir()
    (source / "docs").mkdir()
    code, printed, told = fetch(source)
    assert (code, printed) == (0, [f"{models}/digits/2", f"{models}/shapes/1"])
    assert not (models / "digits/2/engines").exists()
    for line in (
        "engines/gpu.plan: not named by its manifest.json, so not fetched",
        "README.md: no bundle, skipped",
        "digits/3: has no manifest.json (not uploaded to the end?): skipped",
        "not a model!: cannot be a model's name: skipped",
        "docs: holds no version with a manifest.json: skipped",
    ):
        assert line in told


def test_a_source_without_a_bundle_is_an_error_that_says_what_was_looked_for(
    fetch: Fetch, tmp_path: Path, models: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").touch()
    code, printed, told = fetch(tmp_path / "empty")
    assert (code, printed) == (1, [])
    assert "no bundle there: looked for manifest.json in it (a bundle), in <version>/ (a model)" in told
    assert "found notes.txt" in told


def test_a_bundle_in_a_place_of_another_is_refused(fetch: Fetch, source: Path, models: Path) -> None:
    (source / "digits/2").rename(source / "digits/7")
    code, _, told = fetch(source)
    assert code == 1
    assert "says it is 'digits' version 2, and lies where 'digits' version 7 belongs" in told


def test_a_manifest_that_was_changed_is_not_believed(fetch: Fetch, source: Path, models: Path) -> None:
    manifest = source / "shapes/1" / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    code, _, told = fetch(source / "shapes")
    assert code == 1
    assert "its content does not match its digest" in told


def test_paths_that_lead_out_of_a_bundle_are_refused(fetch: Fetch, source: Path, models: Path) -> None:
    manifest = source / "shapes/1" / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace("golden/01.png", "../../../evil"))
    code, _, told = fetch(source / "shapes")
    assert (code, "is not a plain path inside the bundle" in told) == (1, True)


def test_a_pipe_is_refused_and_not_waited_for(fetch: Fetch, source: Path, models: Path) -> None:
    (source / "shapes/1" / ARTEFACT).unlink()
    os.mkfifo(source / "shapes/1" / ARTEFACT)
    code, _, told = fetch(source / "shapes")
    assert (code, f"lacks {ARTEFACT}" in told) == (1, True)


def test_links_in_a_source_are_followed_as_in_what_kubernetes_mounts(fetch: Fetch, source: Path, models: Path) -> None:
    (source / "digits").rename(source.parent / "elsewhere")
    (source / "digits").symlink_to(source.parent / "elsewhere")
    assert fetch(source / "digits")[0] == 0
    assert not (models / "digits/2").is_symlink()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://host/models", "'ftp://...': such an address is not read"),
        ("/no/such/folder", "no such folder; a source is a bundle, a model or a repository"),
        ("s3://key:secret@bucket/models", "keys and settings do not belong in it"),
        ("s3://bucket/models?secret=1", "keys and settings do not belong in it"),
        ("oci://user:secret@host/models:1", "credentials come from Docker's config.json"),
        ("oci://host/models", "give oci://registry/repository:tag"),
    ],
)
def test_an_address_that_is_not_read_is_refused_without_telling_secrets(
    fetch: Fetch, address: str, message: str
) -> None:
    code, _, told = fetch(address)
    assert code == 1
    assert message in told
    assert "secret@" not in told
    assert "secret=" not in told


def test_wrong_usage_is_told(fetch: Fetch, source: Path) -> None:
    assert fetch()[0] == 1
    assert fetch(source, "--versions", "some")[0] == 2
    assert "expected are 1 to 64" in fetch(source, "--jobs", "0")[2]


def test_too_little_room_is_told_before_anything_is_written(
    fetch: Fetch, source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring, "RESERVE_BYTES", 2**62)
    code, printed, told = fetch(source)
    assert (code, printed, names(models)) == (1, [], [])
    assert "are needed for digits version 2, shapes version 1" in told
    assert "are free there; make room, or a larger volume" in told


def test_a_disk_that_fills_up_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    """The limit on the size of a file stands in for a full disk, which needs root to mount."""
    with (source / "shapes/1" / ARTEFACT).open("ab") as file:  # a hash that is wrong comes after the limit
        file.write(b" " * 200_000)
    command = f"modelyard.py fetch {source}/shapes --repository {tmp_path}/m"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; exec {sys.executable} {command}"],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"File too large (while writing shapes version 1, {ARTEFACT}, below {tmp_path / 'm'}" in done.stderr
    assert names(tmp_path / "m") == []
    assert left_in_room(tmp_path / "m") == []


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def left_in_room(models: Path) -> list[str]:
    return sorted(path.name for path in (models / FOLDER).iterdir() if path.suffix != ".lock")
