"""The manifest is closed, consistent and the same after every trip through JSON."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bundle.evidence import Check
from bundle.golden import ANSWERS_FILE, TENSORS_FILE
from bundle.manifest import LeftOut, Manifest, digest_of
from bundle.preprocess import ImageResize
from bundle.store import read_manifest
from bundle.tasks.classification import ClassificationDecode, ClassificationTask
from tests.builders import FAKE_FILE, write_fake_bundle

LAW = settings(derandomize=True, deadline=None, max_examples=150)
NOT_INSIDE = ["../x", "a/../../x", "/etc/passwd", "a\\b", "", "a//b", "./a", "a/.", "a/", "..", "a\0b"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIGURES = st.floats(0, 1e6, allow_nan=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(write_fake_bundle(tmp_path_factory.mktemp("models")))


@pytest.fixture
def document(good: Manifest) -> dict[str, Any]:
    """The manifest as JSON, free to be spoilt."""
    content: dict[str, Any] = json.loads(good.model_dump_json())
    content["left_out"] = [{"artefact": "int8", "reason": "slower"}]
    return copy.deepcopy(content)


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate_json(json.dumps(document))
    return str(caught.value)


def at(document: dict[str, Any], path: str) -> Any:
    found: Any = document
    for key in path.split("."):
        found = found[int(key)] if key.isdigit() else found[key]
    return found


PREPROCESS = ImageResize(height_px=8, width_px=8)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """Other content for most kinds of field."""
    labels = draw(st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=4))
    decode = ClassificationDecode(labels=tuple(labels), default_top_k=draw(st.integers(1, 9)))
    return {
        "decode": decode,
        "outputs": ClassificationTask(decode).output_specs(PREPROCESS),
        "version": draw(st.integers(min_value=1)),
        "reference": draw(st.dictionaries(st.text(max_size=5), st.lists(FIGURES, max_size=3), max_size=3)),
        "left_out": tuple(
            LeftOut(artefact="x", reason=draw(st.text(max_size=5))) for _ in range(draw(st.integers(0, 2)))
        ),
        "arguments": draw(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4)),
        "checks": tuple(
            Check(kind="values", subject=draw(st.text(max_size=5)), value=draw(FIGURES), limit=1.0) for _ in "ab"
        ),
        "median_ms": draw(st.dictionaries(st.integers(1, 64), FIGURES, max_size=3)),
    }


def changed(manifest: Manifest, new: dict[str, Any]) -> Manifest:
    """A sealed manifest with the changes at their places."""
    artefact = manifest.artefacts["fp32"]
    assert artefact.evidence is not None
    latency = artefact.evidence.latency.model_copy(update={"median_ms": new.pop("median_ms")})
    evidence = artefact.evidence.model_copy(update={"checks": new.pop("checks"), "latency": latency})
    artefacts = {"fp32": artefact.model_copy(update={"evidence": evidence})}
    provenance = manifest.provenance.model_copy(update={"arguments": new.pop("arguments")})
    return manifest.model_copy(update={**new, "artefacts": artefacts, "provenance": provenance}).sealed()


@given(new=changes())
@LAW
def test_a_manifest_that_went_through_json_is_equal_and_keeps_its_digest(good: Manifest, new: dict[str, Any]) -> None:
    manifest = changed(good, new)
    again = Manifest.model_validate_json(manifest.model_dump_json())
    assert again == manifest
    assert again.sealed().digest == manifest.digest


@given(new=changes())
@LAW
def test_the_digest_does_not_depend_on_the_order_or_the_layout_of_the_json(good: Manifest, new: dict[str, Any]) -> None:
    manifest = changed(good, new)
    turned = json.dumps(dict(reversed(manifest.model_dump(mode="json").items())), indent=3)
    assert digest_of(json.loads(turned)) == manifest.digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 2),
        ("decode.labels", ["cat", "owl", "dog"]),
        ("provenance.seed", 1),
        ("provenance.arguments", {"lr": 0.1}),
        ("artefacts.fp32.atol", 1e-5),
        ("artefacts.fp32.evidence.metric.artefact", 0.5),
        ("golden.0.media_type", "image/bmp"),
    ],
)
def test_any_change_changes_the_digest(good: Manifest, document: dict[str, Any], path: str, value: object) -> None:
    parent, _, key = path.rpartition(".")
    (at(document, parent) if parent else document)[key] = value
    document["left_out"] = []
    other = Manifest.model_validate_json(json.dumps(document))
    assert other.sealed().digest != good.digest


def test_sealing_twice_changes_nothing(good: Manifest) -> None:
    assert good.sealed() == good


def test_a_manifest_cannot_be_altered(good: Manifest) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        good.name = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    "path",
    [
        "inputs.0",
        "outputs.0",
        "preprocess",
        "decode",
        "artefacts.fp32",
        "artefacts.fp32.evidence",
        "artefacts.fp32.evidence.checks.0",
        "artefacts.fp32.evidence.latency",
        "left_out.0",
        "golden.0",
        "provenance",
    ],
)
def test_an_unknown_key_is_refused_at_every_level(document: dict[str, Any], path: str) -> None:
    at(document, path)["surprise"] = 1
    # In a union, the kind is a part of the place.
    where = {"preprocess": "preprocess.image-resize", "decode": "decode.classification"}.get(path, path)
    assert f"{where}.surprise" in refusal(document)


def test_an_unknown_key_at_the_top_is_refused(document: dict[str, Any]) -> None:
    assert "surprise" in refusal({**document, "surprise": 1})


@pytest.mark.parametrize("path", NOT_INSIDE)
@pytest.mark.parametrize("place", ["artefacts.fp32", "golden.0"])
def test_a_file_outside_the_bundle_is_refused(document: dict[str, Any], place: str, path: str) -> None:
    at(document, place)["file"] = path
    document["files"][path] = "0" * 64
    assert "is not a plain path inside the bundle" in refusal(document)


@pytest.mark.parametrize("path", NOT_INSIDE)
def test_a_hash_of_a_file_outside_the_bundle_is_refused(document: dict[str, Any], path: str) -> None:
    document["files"][path] = "0" * 64
    assert "is not a plain path inside the bundle" in refusal(document)


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "a\\b", "a.b", "a b", "-a", "_a", "é", "a\n", "a" * 65])
def test_a_name_that_is_no_plain_folder_is_refused(document: dict[str, Any], name: str) -> None:
    assert "name" in refusal({**document, "name": name})


@pytest.mark.parametrize("version", [0, -1, 1.5, "one", None])
def test_a_version_that_is_no_positive_integer_is_refused(document: dict[str, Any], version: object) -> None:
    assert "version" in refusal({**document, "version": version})


def test_an_unknown_task_is_refused_with_those_that_are_known(document: dict[str, Any]) -> None:
    message = refusal({**document, "task": "mind-reading"})
    assert "task 'mind-reading' is not known; known are image-classification" in message


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["a", "b"], "scores: float32 ['batch', 2]"), (list("abcd"), "scores: float32 ['batch', 4]")],
)
def test_outputs_that_contradict_the_labels_are_refused(
    document: dict[str, Any], labels: list[str], expected: str
) -> None:
    document["decode"]["labels"] = labels
    message = f"outputs are scores: float32 ['batch', 3], but the task and its labels need {expected}"
    assert message in refusal(document)


@pytest.mark.parametrize("field", ["name", "dtype"])
def test_outputs_of_another_form_than_the_task_reads_are_refused(document: dict[str, Any], field: str) -> None:
    document["outputs"][0][field] = {"name": "logits", "dtype": "float16"}[field]
    assert "but the task and its labels need scores: float32 ['batch', 3]" in refusal(document)


def test_a_default_artefact_that_is_not_there_is_refused(document: dict[str, Any]) -> None:
    assert "default_artefact 'int8' is not one of fp32" in refusal({**document, "default_artefact": "int8"})


@pytest.mark.parametrize("file", [FAKE_FILE, "golden/00.png", TENSORS_FILE, ANSWERS_FILE])
def test_a_file_without_a_hash_is_refused(document: dict[str, Any], file: str) -> None:
    del document["files"][file]
    assert f"no sha256 is given for {file}" in refusal(document)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64])
def test_a_hash_that_is_no_sha256_is_refused(document: dict[str, Any], digest: str) -> None:
    document["files"][FAKE_FILE] = digest
    assert "files" in refusal(document)


@pytest.mark.parametrize("field", ["inputs", "outputs", "artefacts", "golden"])
def test_an_empty_part_is_refused(document: dict[str, Any], field: str) -> None:
    assert field in refusal({**document, field: type(document[field])()})


def test_another_schema_version_is_refused(document: dict[str, Any]) -> None:
    assert "schema_version" in refusal({**document, "schema_version": 2})


def test_what_was_not_shipped_travels_with_its_reason(tmp_path: Path) -> None:
    left_out = (LeftOut(artefact="int8", reason="0.9 x the speed of fp32"),)
    assert read_manifest(write_fake_bundle(tmp_path, left_out=left_out)).left_out == left_out


def test_inputs_that_preprocessing_does_not_make_are_refused(document: dict[str, Any]) -> None:
    document["preprocess"]["color"] = "grey"
    with pytest.raises(ValidationError, match=r"inputs are .*8, 8, 3.* but preprocessing makes .*8, 8, 1"):
        Manifest.model_validate_json(json.dumps(document))
