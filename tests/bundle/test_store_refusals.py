"""A bundle is believed only when every byte and every figure of it holds; the message names the file and the cause."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle.errors import BundleError
from bundle.manifest import Artefact, Manifest
from bundle.store import MANIFEST_FILE, open_bundle, sha256_of
from tests.builders import FAKE_FILE, write_fake_bundle

FILES = [FAKE_FILE, "golden/00.png", "golden/tensors.safetensors", "golden/answers.json"]
"""One of each kind of file that a bundle holds."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that may be spoilt."""
    return write_fake_bundle(tmp_path)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    return str(caught.value)


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit manifest.json by hand: the digest stays as it was."""
    content = json.loads((folder / MANIFEST_FILE).read_bytes())
    edit(content)
    (folder / MANIFEST_FILE).write_text(json.dumps(content), encoding="utf-8")


def rewrite_and_seal(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit manifest.json as a forger would, who knows how digests are made."""
    rewrite(folder, edit)
    forged = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes()).sealed()
    (folder / MANIFEST_FILE).write_text(forged.model_dump_json(), encoding="utf-8")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", FILES)
def test_a_changed_byte_is_refused_with_the_file_and_both_hashes(folder: Path, file: str) -> None:
    expected = sha256_of(folder / file)
    flip_a_bit(folder / file)
    message = refusal(folder)
    assert message.startswith(f"{folder}/{file}: ")
    assert f"its sha256 is {sha256_of(folder / file)}, the manifest says {expected}" in message


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused_by_its_name(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert refusal(folder) == f"{folder}/{file}: cannot be read: No such file or directory"


def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / FAKE_FILE).unlink()
    (folder / FAKE_FILE).mkdir()
    assert refusal(folder).startswith(f"{folder}/{FAKE_FILE}: cannot be read")


def without_evidence(content: dict[str, Any]) -> None:
    content["artefacts"]["fp32"]["evidence"] = None


def with_a_broken_limit(content: dict[str, Any]) -> None:
    content["artefacts"]["fp32"]["evidence"]["checks"][3]["value"] = 0.5


def without_the_metric(content: dict[str, Any]) -> None:
    content["artefacts"]["fp32"]["evidence"]["checks"].pop()


def measured_on_another_file(content: dict[str, Any]) -> None:
    content["artefacts"]["fp32"]["evidence"]["sha256"] = "0" * 64


UNPROVEN = [
    (without_evidence, "has no evidence that it gives the checkpoint's answers; export it again"),
    (with_a_broken_limit, "is not proven: its evidence holds broken limits: values"),
    (without_the_metric, "is not proven: its evidence lacks the checks metric"),
    (measured_on_another_file, f"its evidence was measured on another file (sha256 {'0' * 64})"),
]


@pytest.mark.parametrize("forge", [rewrite, rewrite_and_seal])
@pytest.mark.parametrize(("edit", "cause"), UNPROVEN)
def test_an_artefact_without_proof_is_refused_however_well_it_is_sealed(
    folder: Path, edit: Callable[[dict[str, Any]], None], cause: str, forge: Callable[..., None]
) -> None:
    forge(folder, edit)
    message = refusal(folder)
    assert message.startswith(f"{folder}/{MANIFEST_FILE}: artefact 'fp32' ({FAKE_FILE})")
    assert cause in message


def test_a_second_artefact_without_proof_spoils_the_bundle_too(tmp_path: Path) -> None:
    manifest = open_bundle(write_fake_bundle(tmp_path, "proven")).manifest
    unproven = manifest.artefacts["fp32"].model_copy(update={"evidence": None})
    artefacts: dict[str, Artefact] = {**manifest.artefacts, "int8": unproven}
    assert "artefact 'int8'" in refusal(write_fake_bundle(tmp_path, artefacts=artefacts))


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["decode"].update(labels=["cat", "dog", "elk"]),
        lambda content: content["provenance"].update(seed=7),
        lambda content: content.update(digest="0" * 64),
        lambda content: content.update(digest=""),
        lambda content: content.pop("digest"),
        lambda content: content["files"].update({"golden/02.png": "0" * 64}),
    ],
)
def test_an_edited_manifest_is_refused(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    rewrite(folder, edit)
    assert refusal(folder).startswith(f"{folder}/{MANIFEST_FILE}: its content does not match its digest")


def test_another_layout_of_the_same_manifest_is_the_same_manifest(folder: Path) -> None:
    rewrite(folder, lambda content: None)
    assert open_bundle(folder)


def test_a_replaced_file_is_refused_even_with_its_new_hash_in_a_sealed_manifest(folder: Path) -> None:
    flip_a_bit(folder / FAKE_FILE)
    rewrite_and_seal(folder, lambda content: content["files"].update({FAKE_FILE: sha256_of(folder / FAKE_FILE)}))
    assert "its evidence was measured on another file" in refusal(folder)


@pytest.mark.parametrize("place", ["fake/2", "other/1", "fake/one"])
def test_a_bundle_in_another_place_than_its_manifest_says_is_refused(folder: Path, tmp_path: Path, place: str) -> None:
    moved = shutil.copytree(folder, tmp_path / place)
    assert refusal(moved) == (f"{moved}: manifest.json says it is 'fake' version 1; that belongs in a folder fake/1")


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (lambda content: content.update(name="../x"), "name: String should match pattern"),
        (lambda content: content["files"].update({"../x": "0" * 64}), "'../x' is not a plain path inside the bundle"),
        (lambda content: content.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda content: content.update(task="mind-reading"), "task 'mind-reading' is not known"),
        (lambda content: content.update(schema_version=2), "schema_version is 2; this Modelyard reads 1"),
        (lambda content: content.pop("schema_version"), "schema_version is None; this Modelyard reads 1"),
    ],
)
def test_a_manifest_that_breaks_the_form_is_refused(
    folder: Path, edit: Callable[[dict[str, Any]], object], cause: str
) -> None:
    rewrite(folder, edit)
    message = refusal(folder)
    assert message.startswith(f"{folder}/{MANIFEST_FILE}: ")
    assert cause in message


@pytest.mark.parametrize(
    "content", [b"", b"not JSON", b"{", b"\xff\xfe", b"[]", b"null", b"1", b"{}", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_a_manifest_that_is_no_document_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)
    assert refusal(folder).startswith(f"{folder}/{MANIFEST_FILE}: ")


@pytest.mark.parametrize("place", ["fake/2", "nowhere/1"])
def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path, place: str) -> None:
    (tmp_path / "fake" / "2").mkdir(parents=True)
    assert refusal(tmp_path / place) == f"{tmp_path / place}: no manifest.json; this is not a bundle"


def test_a_file_is_no_bundle(folder: Path) -> None:
    assert refusal(folder / FAKE_FILE).startswith(f"{folder / FAKE_FILE}/manifest.json: cannot be read")
