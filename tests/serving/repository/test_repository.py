"""What a repository finds when it starts, whom it refuses, and who answers which request."""

from pathlib import Path

import pytest

from bundle.errors import ModelNotFound, ModelNotReady
from bundle.preprocess import Limits
from bundle.store import MANIFEST_FILE
from serving.repository.slots import ModelState
from tests.builders import FAKE_FILE, png, write_fake_bundle
from tests.serving.repositories import TASK, Counted, Kept, kept, unread, write_settings
from tests.serving.tampering import TAMPERINGS, edit, reseal

pytestmark = pytest.mark.anyio


def only(here: Kept) -> ModelState:
    assert len(here.models.models) == 1
    return here.models.models[0]


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_a_tampered_bundle_is_refused_with_file_and_cause(tmp_path: Path, name: str) -> None:
    tampering = TAMPERINGS[name]
    tampering.damage(write_fake_bundle(tmp_path))
    async with kept(tmp_path) as here:
        model = only(here)
        assert model.state == "refused"
        assert model.served is None
        assert all(word in model.reason for word in tampering.told), model.reason
        assert model.reason in here.models.not_ready_because()


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_asking_a_refused_model_tells_why(tmp_path: Path, name: str) -> None:
    TAMPERINGS[name].damage(write_fake_bundle(tmp_path))
    async with kept(tmp_path) as here:
        with pytest.raises(ModelNotReady) as told:
            here.models.find(TASK, "fake", None)
        assert only(here).reason in str(told.value)


@pytest.mark.parametrize(
    "damage", [b"[" * 100_000, b"\xff", b"", b'{"schema_version": 1e999}'], ids=lambda raw: repr(raw[:30])
)
async def test_a_manifest_that_no_parser_likes_never_touches_another_model(tmp_path: Path, damage: bytes) -> None:
    (write_fake_bundle(tmp_path, "broken") / MANIFEST_FILE).write_bytes(damage)
    write_fake_bundle(tmp_path, "sound")
    async with kept(tmp_path) as here:
        assert {model.name: model.state for model in here.models.models} == {"broken": "refused", "sound": "ready"}
        assert here.models.not_ready_because() == ""


async def test_an_engine_that_is_not_known_is_a_reason_to_refuse(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path)
    edit(bundle / MANIFEST_FILE, lambda manifest: manifest["artefacts"]["fp32"].update(runtime="abacus"))
    reseal(bundle)
    async with kept(tmp_path) as here:
        assert "runtime 'abacus' is not known; known are " in only(here).reason


async def test_a_graph_unlike_the_manifest_is_a_reason_to_refuse(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path)
    edit(bundle / FAKE_FILE, lambda specs: specs["inputs"][0].update(shape=["batch", 9, 9, 3]))
    edit(bundle / MANIFEST_FILE, lambda m: m["artefacts"]["fp32"]["evidence"].update(sha256=m["files"][FAKE_FILE]))
    reseal(bundle)
    async with kept(tmp_path) as here:
        assert FAKE_FILE in only(here).reason
        assert "evidence was measured on another file" in only(here).reason


async def test_the_newest_version_is_served_and_an_older_one_not_found(tmp_path: Path) -> None:
    for _ in range(11):
        write_fake_bundle(tmp_path)
    async with kept(tmp_path) as here:
        assert here.models.find(TASK, None, None).version == 11
        assert here.models.find(TASK, "fake", 11).version == 11
        with pytest.raises(ModelNotFound, match="model 'fake' has no version 10 here; version 11 is served"):
            here.models.find(TASK, "fake", 10)


async def test_a_start_serves_what_ran_before_it_where_the_newest_version_is_bad(tmp_path: Path) -> None:
    # While it runs a bad version never takes a good one's place; a process that restarts must not be worse off.
    write_fake_bundle(tmp_path)
    TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path))
    async with kept(tmp_path) as here:
        assert here.states() == {1: "ready", 2: "refused"}
        assert here.version() == 1
        assert here.models.not_ready_because() == ""
        with pytest.raises(ModelNotReady, match=r"version 2 does not answer: .*sha256"):
            here.models.find(TASK, "fake", 2)


async def test_a_start_does_not_try_old_versions_without_end(tmp_path: Path) -> None:
    for _ in range(6):
        TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path))
    async with kept(tmp_path) as here:
        assert here.states() == dict.fromkeys((3, 4, 5, 6), "refused")


async def test_files_and_hidden_folders_are_no_models(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").touch()
    (tmp_path / "fake" / "notes").mkdir()
    (tmp_path / "fake" / ".staging-x").mkdir()
    (tmp_path / "fake" / "2").mkdir()
    async with kept(tmp_path) as here:
        assert only(here).state == "ready"


async def test_a_folder_without_a_version_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "fake" / "latest").mkdir(parents=True)
    async with kept(tmp_path) as here:
        assert "no version" in only(here).reason


async def test_every_version_is_counted_as_ready_or_refused(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "sound")
    TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path, "broken"))
    async with kept(tmp_path) as here:
        assert here.counted.ready == {("sound", 1): True, ("broken", 1): False}
        assert here.counted.failures == 1


async def test_the_only_model_of_a_task_needs_no_name_even_beside_a_refused_one(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "sound")
    TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path, "broken"))
    async with kept(tmp_path) as here:
        assert here.models.find(TASK, None, None).name == "sound"
        assert here.models.find(TASK, None, 1).name == "sound"
        with pytest.raises(ModelNotFound, match="model 'sound' has no version 2 here"):
            here.models.find(TASK, None, 2)


async def test_of_several_models_of_a_task_one_must_be_named(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "one")
    write_fake_bundle(tmp_path, "two")
    async with kept(tmp_path) as here:
        with pytest.raises(ModelNotFound, match=r"several models are for image-classification; .* one of one, two"):
            here.models.find(TASK, None, None)


async def test_a_model_of_another_task_is_not_found_for_this_one(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    async with kept(tmp_path) as here:
        with pytest.raises(ModelNotFound, match="model 'fake' is for image-classification, not for object-detection"):
            here.models.find("object-detection", "fake", None)
        with pytest.raises(ModelNotFound, match="no model here is for object-detection"):
            here.models.find("object-detection", None, None)


async def test_whoever_names_a_model_need_not_know_its_task(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    async with kept(tmp_path) as here:
        assert here.models.find(None, "fake", None).version == 1
        assert here.models.find(None, "fake", 1).version == 1
        with pytest.raises(ModelNotFound, match="no model 'other'; there are fake"):
            here.models.find(None, "other", None)


async def test_an_empty_repository_tells_how_to_make_a_model(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        reason = here.models.not_ready_because()
        assert str(tmp_path) in reason
        assert "modelyard export" in reason
        with pytest.raises(ModelNotReady, match="holds no models"):
            here.models.find(TASK, None, None)


@pytest.fixture(params=["missing", "file"])
def no_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "models"
    if request.param == "file":
        path.touch()
    return path


async def test_a_repository_that_is_no_folder_is_named_with_what_to_do(no_folder: Path) -> None:
    async with kept(no_folder) as here:
        assert here.models.models == []
        assert str(no_folder) in here.models.not_ready_because()
        assert "modelyard export" in here.models.not_ready_because()
        with pytest.raises(ModelNotReady, match="cannot be read"):
            here.models.find(TASK, None, None)


async def test_before_it_is_read_a_repository_is_not_ready() -> None:
    models = unread(Path("models"), Counted())
    assert models.not_ready_because() == "the repository has not been read yet"
    assert models.not_live_because() == ""
    with pytest.raises(ModelNotReady, match="has not been read yet"):
        models.find(TASK, "fake", None)


async def test_a_picture_is_held_to_the_limits_of_the_process(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    async with kept(tmp_path, limits=Limits(max_pixels=12 * 16)) as here:
        assert here.models.find(TASK, None, None).predictor.predict([png()])


async def test_limits_that_refuse_the_golden_samples_refuse_the_model(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path)
    async with kept(tmp_path, limits=Limits(max_pixels=12 * 16 - 1)) as here:
        assert "at most 191 pixels" in only(here).reason


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_queue = 0", "max_queue: Input should be greater than or equal to 1"),
        ("colour = 'red'", "colour: Extra inputs are not permitted"),
        ("version_policy = 'newest'", "version_policy"),
        ("version_policy = {latest = 0}", "version_policy"),
        ("version_policy = {specific = []}", "version_policy"),
        ("canary = {share = 2}", "canary.share"),
        ("version_policy = ", "cannot be read"),
    ],
)
async def test_a_model_whose_settings_cannot_be_read_is_refused_with_why(tmp_path: Path, text: str, told: str) -> None:
    # They might say which version is to answer: serving another one would be worse than serving none.
    write_fake_bundle(tmp_path)
    write_settings(tmp_path, text)
    async with kept(tmp_path) as here:
        assert only(here).state == "refused"
        assert "serving.toml" in only(here).reason
        assert told in only(here).reason
        assert here.counted.failures == 1


async def test_a_service_that_ends_just_as_its_models_are_ready_ends_in_order(tmp_path: Path) -> None:
    """What comes after bringing up needs the same threads, and they begin nothing more."""
    write_fake_bundle(tmp_path)

    async with kept(tmp_path, begin=False) as here:
        told = here.counted.model_ready

        def end(model: str, version: int, ready: bool) -> None:
            told(model, version, ready)
            here.models._hands.close()

        here.counted.model_ready = end  # type: ignore[method-assign]
        await here.models.start()
        assert here.counted.ready == {("fake", 1): True}
