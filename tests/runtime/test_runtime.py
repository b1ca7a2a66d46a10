"""The table of engines, and the manifest's specs that every loaded artefact is held to."""

from pathlib import Path

import pytest

from bundle.errors import RuntimeFailed
from bundle.store import Bundle, open_bundle
from bundle.tensors import TensorSpec
from runtime.fake import FakeRuntime, write_fake
from runtime.ort import OrtRuntime
from runtime.runtime import RUNTIMES, Runtime, load_runtime, runtime_class
from tests.builders import FAKE_FILE, write_fake_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(write_fake_bundle(tmp_path))


def load(bundle: Bundle) -> Runtime:
    return load_runtime(bundle.manifest, "fake", bundle.folder / FAKE_FILE)


@pytest.mark.parametrize(("key", "engine"), [("onnxruntime", OrtRuntime), ("fake", FakeRuntime)])
def test_a_key_of_the_manifest_is_an_engine(key: str, engine: type) -> None:
    assert runtime_class(key) is engine


@pytest.mark.parametrize("key", RUNTIMES)
def test_every_line_of_the_table_can_be_imported(key: str) -> None:
    assert callable(runtime_class(key))


def test_an_unknown_engine_is_told_with_those_that_are_known() -> None:
    with pytest.raises(RuntimeFailed, match="runtime 'magic' is not known; known are onnxruntime, tensorrt, fake"):
        runtime_class("magic")


def test_an_artefact_of_a_bundle_is_loaded(bundle: Bundle) -> None:
    runtime = load(bundle)
    assert (runtime.inputs, runtime.outputs) == (bundle.manifest.inputs, bundle.manifest.outputs)


OTHER_FORMS = {
    "size": TensorSpec(name="image", dtype="uint8", shape=("batch", 9, 8, 3)),
    "type": TensorSpec(name="image", dtype="float32", shape=("batch", 8, 8, 3)),
    "name": TensorSpec(name="pixels", dtype="uint8", shape=("batch", 8, 8, 3)),
    "axis": TensorSpec(name="image", dtype="uint8", shape=("n", 8, 8, 3)),
    "fixed batch": TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 3)),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_graph_of_another_form_than_declared_is_refused(bundle: Bundle, form: str) -> None:
    write_fake(bundle.folder / FAKE_FILE, (OTHER_FORMS[form],), bundle.manifest.outputs)
    with pytest.raises(RuntimeFailed, match=f"{bundle.folder}/{FAKE_FILE}: ") as caught:
        load(bundle)
    assert OTHER_FORMS[form].name in str(caught.value)


def test_a_graph_with_other_outputs_than_declared_is_refused(bundle: Bundle) -> None:
    other = (TensorSpec(name="scores", dtype="float32", shape=("batch", 4)),)
    write_fake(bundle.folder / FAKE_FILE, bundle.manifest.inputs, other)
    with pytest.raises(RuntimeFailed, match="the manifest declares"):
        load(bundle)


def test_both_forms_are_told_briefly(bundle: Bundle) -> None:
    write_fake(bundle.folder / FAKE_FILE, (OTHER_FORMS["size"],), bundle.manifest.outputs)
    with pytest.raises(RuntimeFailed) as caught:
        load(bundle)
    assert "image: uint8 ['batch', 9, 8, 3]" in str(caught.value)
    assert "image: uint8 ['batch', 8, 8, 3]" in str(caught.value)


def test_a_file_for_an_unknown_engine_is_refused(bundle: Bundle) -> None:
    with pytest.raises(RuntimeFailed, match="runtime 'magic' is not known"):
        load_runtime(bundle.manifest, "magic", bundle.folder / FAKE_FILE)
