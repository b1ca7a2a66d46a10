"""`modelyard inspect` checks a bundle as the service would and shows what is in it."""

import json
from pathlib import Path

import pytest

import modelyard
from bundle.manifest import LeftOut, Manifest
from bundle.store import open_bundle
from tests.builders import FAKE_FILE, write_fake_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    left_out = (LeftOut(artefact="int8", reason="0.9 x the speed of fp32"),)
    return write_fake_bundle(tmp_path, left_out=left_out)


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    modelyard.main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    """Exit code and what stands on standard error."""
    with pytest.raises(SystemExit) as stopped:
        modelyard.main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    return stopped.value.code, captured.err


@pytest.mark.parametrize(
    "line",
    [
        "fake version 1: image-classification",
        "from recipe fake, data fake, commit unknown",
        f"fp32 ({FAKE_FILE}, served by default): by tests/builders.py",
        "  accuracy on 3 test samples: artefact 1.0000, checkpoint 1.0000",
        "left out: int8: 0.9 x the speed of fp32",
    ],
)
def test_the_table_shows_what_the_bundle_is(folder: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert line in shown(capsys, folder).splitlines()


def test_the_table_shows_the_digest_and_every_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, manifest = shown(capsys, folder), open_bundle(folder).manifest
    evidence = manifest.artefacts["fp32"].evidence
    assert evidence is not None
    assert f"digest {manifest.digest}" in table
    assert all(f"  {check}" in table for check in evidence.checks)


def test_json_is_the_manifest_as_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Manifest.model_validate(json.loads(shown(capsys, folder, "--json"))) == open_bundle(folder).manifest


def test_the_folder_of_a_model_means_its_newest_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(10):
        write_fake_bundle(folder.parent.parent)
    assert shown(capsys, folder.parent).startswith("fake version 11: ")


def test_a_relative_path_is_read_from_here(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert shown(capsys, ".") == shown(capsys, "../../fake/") == shown(capsys, folder)


def test_a_bundle_that_is_not_to_be_trusted_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / FAKE_FILE).write_bytes(b"another model")
    code, message = refused(capsys, folder)
    assert code == 1
    assert message.startswith(f"modelyard inspect: {folder}/{FAKE_FILE}: its sha256 is ")
    assert len(message.splitlines()) == 1


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, tmp_path / "nowhere")
    assert (code, message) == (1, f"modelyard inspect: {tmp_path}/nowhere: no such folder\n")


def test_a_folder_that_is_no_bundle_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, tmp_path)
    assert (code, message) == (1, f"modelyard inspect: {tmp_path}: no manifest.json; this is not a bundle\n")


@pytest.mark.parametrize("arguments", [[], ["one", "two"], ["one", "--yaml"]])
def test_bad_usage_is_exit_code_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *arguments)[0] == 2


def test_help_says_what_a_bundle_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        modelyard.main(["inspect", "--help"])
    assert stopped.value.code == 0
    assert "<repository>/<name>/<version>" in capsys.readouterr().out
