from pathlib import Path

import pytest

from bundle.errors import ModelNotFound, ModelNotReady
from bundle.preprocess import Limits
from bundle.store import MANIFEST_FILE
from serving.repository import Model, ModelRepository
from tests.builders import FAKE_FILE, png, write_fake_bundle
from tests.serving.tampering import TAMPERINGS, edit, reseal

TASK = "image-classification"


def loaded(folder: Path) -> ModelRepository:
    models = ModelRepository(folder, "cpu", Limits())
    models.load(lambda _: None)
    return models


def only(models: ModelRepository) -> Model:
    assert len(models.models) == 1
    return models.models[0]


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampered_bundle_is_refused_with_file_and_cause(tmp_path: Path, name: str) -> None:
    tampering = TAMPERINGS[name]
    tampering.damage(write_fake_bundle(tmp_path))
    models = loaded(tmp_path)
    model = only(models)
    assert model.state == "refused"
    assert model.predictor is None
    assert all(word in model.reason for word in tampering.told), model.reason
    assert model.reason in models.not_ready_because()


@pytest.mark.parametrize("name", TAMPERINGS)
def test_asking_a_refused_model_tells_why(tmp_path: Path, name: str) -> None:
    TAMPERINGS[name].damage(write_fake_bundle(tmp_path))
    models = loaded(tmp_path)
    with pytest.raises(ModelNotReady) as told:
        models.find(TASK, "fake", None)
    assert only(models).reason in str(told.value)


@pytest.mark.parametrize(
    "damage", [b"[" * 100_000, b"\xff", b"", b'{"schema_version": 1e999}'], ids=lambda raw: repr(raw[:30])
)
def test_a_manifest_that_no_parser_likes_never_touches_another_model(tmp_path: Path, damage: bytes) -> None:
    (write_fake_bundle(tmp_path, "broken") / MANIFEST_FILE).write_bytes(damage)
    write_fake_bundle(tmp_path, "sound")
    models = loaded(tmp_path)
    assert {model.name: model.state for model in models.models} == {"broken": "refused", "sound": "ready"}
    assert models.not_ready_because() == ""


def test_an_engine_that_is_not_known_is_a_reason_to_refuse(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path)
    edit(bundle / MANIFEST_FILE, lambda manifest: manifest["artefacts"]["fp32"].update(runtime="abacus"))
    reseal(bundle)
    assert "runtime 'abacus' is not known; known are " in only(loaded(tmp_path)).reason


def test_a_graph_unlike_the_manifest_is_a_reason_to_refuse(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path)
    edit(bundle / FAKE_FILE, lambda specs: specs["inputs"][0].update(shape=["batch", 9, 9, 3]))
    edit(bundle / MANIFEST_FILE, lambda m: m["artefacts"]["fp32"]["evidence"].update(sha256=m["files"][FAKE_FILE]))
    reseal(bundle)
    refused = only(loaded(tmp_path))
    assert FAKE_FILE in refused.reason
    assert "evidence was measured on another file" in refused.reason


def test_the_newest_version_is_served_and_an_older_one_not_found(tmp_path: Path) -> None:
    for _ in range(11):
        write_fake_bundle(tmp_path)
    models = loaded(tmp_path)
    assert models.find(TASK, None, None).manifest.version == 11
    with pytest.raises(ModelNotFound, match="model 'fake' has no version 10 here; version 11 is served"):
        models.find(TASK, "fake", 10)


def test_a_refused_newest_version_is_not_replaced_by_an_older_one(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path))
    model = only(loaded(tmp_path))
    assert (model.version, model.state) == (2, "refused")


def test_files_and_hidden_folders_are_no_models(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").touch()
    (tmp_path / "fake" / "notes").mkdir()
    (tmp_path / "fake" / ".staging-x").mkdir()
    assert only(loaded(tmp_path)).state == "ready"


def test_a_folder_without_a_version_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "fake" / "latest").mkdir(parents=True)
    assert "no version" in only(loaded(tmp_path)).reason


def test_every_model_is_reported_once_it_is_decided(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "sound")
    TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path, "broken"))
    seen: list[Model] = []
    ModelRepository(tmp_path, "cpu", Limits()).load(seen.append)
    assert [(model.name, model.state) for model in seen] == [("broken", "refused"), ("sound", "ready")]


def test_the_only_model_of_a_task_needs_no_name_even_beside_a_refused_one(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "sound")
    TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path, "broken"))
    assert loaded(tmp_path).find(TASK, None, None).manifest.name == "sound"


def test_a_model_of_another_task_is_not_found_for_this_one(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    models = loaded(tmp_path)
    with pytest.raises(ModelNotFound, match="model 'fake' is for image-classification, not for object-detection"):
        models.find("object-detection", "fake", None)
    with pytest.raises(ModelNotFound, match="no model here is for object-detection"):
        models.find("object-detection", None, None)


def test_an_empty_repository_tells_how_to_make_a_model(tmp_path: Path) -> None:
    reason = loaded(tmp_path).not_ready_because()
    assert str(tmp_path) in reason
    assert "modelyard export" in reason


@pytest.fixture(params=["missing", "file"])
def no_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "models"
    if request.param == "file":
        path.touch()
    return path


def test_a_repository_that_is_no_folder_is_named_with_what_to_do(no_folder: Path) -> None:
    models = loaded(no_folder)
    assert models.models == []
    assert str(no_folder) in models.not_ready_because()
    assert "modelyard export" in models.not_ready_because()
    with pytest.raises(ModelNotReady, match="cannot be read"):
        models.find(TASK, None, None)


def test_before_it_is_read_a_repository_is_not_ready() -> None:
    models = ModelRepository(Path("models"), "cpu", Limits())
    assert models.not_ready_because() == "the repository has not been read yet"
    with pytest.raises(ModelNotReady):
        models.find(TASK, "fake", None)


def test_a_picture_is_held_to_the_limits_of_the_process(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    models = ModelRepository(tmp_path, "cpu", Limits(max_pixels=12 * 16))
    models.load(lambda _: None)
    assert models.find(TASK, None, None).predict([png()])


def test_limits_that_refuse_the_golden_samples_refuse_the_model(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    models = ModelRepository(tmp_path, "cpu", Limits(max_pixels=12 * 16 - 1))
    models.load(lambda _: None)
    assert "at most 191 pixels" in only(models).reason
