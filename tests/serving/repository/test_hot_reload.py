"""Versions that come, go and change while the repository is looked at; a bad one never takes a good one's place."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bundle.errors import ModelNotFound, ModelNotReady
from bundle.store import MANIFEST_FILE
from tests.serving.repositories import POLL_S, TASK, Kept, ask, copied, damage, kept, publish, write_settings
from tests.serving.tampering import edit, reseal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Kept]:
    """Version 1 of 'fake', looked at all the time."""
    publish(tmp_path)
    async with kept(tmp_path, POLL_S) as here:
        yield here


async def test_a_new_version_takes_over_and_the_old_one_goes(tmp_path: Path, here: Kept) -> None:
    old = here.models.find(TASK, None, None)
    publish(tmp_path, ("red", "green", "blue"))
    await here.until(lambda: here.states() == {1: "unloaded", 2: "ready"})
    assert (await ask(here.models.find(TASK, None, None))).label in ("red", "green", "blue")
    assert here.state(1).reason == "replaced by version 2"
    assert here.counted.ready == {("fake", 1): False, ("fake", 2): True}
    assert here.counted.forgotten == [("fake", 1)]
    with pytest.raises(ModelNotReady, match="being taken away"):
        await ask(old)
    with pytest.raises(ModelNotReady, match="version 1 does not answer: replaced by version 2"):
        here.models.find(TASK, "fake", 1)


async def test_a_request_that_found_the_old_version_is_answered_by_it(tmp_path: Path, here: Kept) -> None:
    old = here.models.find(TASK, None, None)
    publish(tmp_path, ("red", "green", "blue"))
    await here.until(lambda: here.version() == 2)
    assert (await ask(old)).label in ("cat", "dog", "owl")


async def test_a_bad_version_never_replaces_a_good_one_and_says_why(tmp_path: Path, here: Kept) -> None:
    damage(publish(tmp_path))
    await here.until(lambda: here.states() == {1: "ready", 2: "refused"})
    assert here.version() == 1
    assert "sha256" in here.state(2).reason
    assert here.counted.failures == 1
    assert here.models.not_ready_because() == ""
    await here.a_few_looks()
    assert here.counted.failures == 1, "what has not changed is not tried again and again"


async def test_a_version_that_is_repaired_is_picked_up(tmp_path: Path, here: Kept) -> None:
    repair = damage(publish(tmp_path))
    await here.until(lambda: here.states().get(2) == "refused")
    repair()
    await here.until(lambda: here.version() == 2)
    assert here.state(2).reason == ""


async def test_a_model_that_was_bad_from_the_start_is_picked_up_once_repaired(tmp_path: Path) -> None:
    repair = damage(publish(tmp_path))
    async with kept(tmp_path, POLL_S) as here:
        assert here.models.not_ready_because() != ""
        repair()
        await here.until(lambda: here.models.not_ready_because() == "")
        assert here.version() == 1


async def test_a_bundle_that_is_copied_file_by_file_waits_for_its_last_file(tmp_path: Path, here: Kept) -> None:
    source = publish(tmp_path / "elsewhere", ("red", "green", "blue"))
    edit(source / MANIFEST_FILE, lambda manifest: manifest.update(version=2))
    target = tmp_path / "fake" / "2"
    target.mkdir()
    files = sorted((path for path in source.rglob("*") if path.is_file()), key=lambda path: path.name == MANIFEST_FILE)
    for file in files:
        (target / file.relative_to(source)).parent.mkdir(exist_ok=True)
        shutil.copy(file, target / file.relative_to(source))
        await asyncio.sleep(2 * POLL_S)
        assert 2 not in here.states() or file.name == MANIFEST_FILE
    reseal(target)
    await here.until(lambda: here.version() == 2)


async def test_hidden_and_unfinished_folders_are_no_versions(tmp_path: Path, here: Kept) -> None:
    (tmp_path / "fake" / "2").mkdir()
    (tmp_path / "fake" / ".3").mkdir()
    copied(tmp_path / "fake" / "1", tmp_path / ".staging-fake" / "1")
    await here.a_few_looks()
    assert here.states() == {1: "ready"}
    assert here.counted.failures == 0


async def test_a_version_that_changes_in_place_is_served_anew(tmp_path: Path, here: Kept) -> None:
    old = here.models.find(TASK, None, None)
    shutil.rmtree(tmp_path / "fake" / "1")
    publish(tmp_path, ("red", "green", "blue"))
    await here.until(lambda: here.models.find(TASK, None, None) is not old)
    assert here.states() == {1: "ready"}
    assert (await ask(here.models.find(TASK, None, None))).label in ("red", "green", "blue")


async def test_a_version_that_is_damaged_in_place_goes_on_as_it_was_loaded(tmp_path: Path, here: Kept) -> None:
    old = here.models.find(TASK, None, None)
    repair = damage(tmp_path / "fake" / "1")
    await here.until(lambda: "sha256" in here.state(1).reason)
    assert here.state(1).state == "ready"
    assert here.models.find(TASK, None, None) is old
    repair()
    await here.until(lambda: here.state(1).reason == "")
    assert here.models.find(TASK, None, None) is old, "the very same bundle needs no new engine"


async def test_touching_files_changes_nothing(tmp_path: Path, here: Kept) -> None:
    old = here.models.find(TASK, None, None)
    for file in (tmp_path / "fake" / "1").iterdir():
        file.touch()
    await here.a_few_looks()
    assert here.models.find(TASK, None, None) is old
    assert here.counted.failures == 0


async def test_a_version_whose_folder_is_deleted_gives_way_to_the_one_before(tmp_path: Path, here: Kept) -> None:
    bundle = publish(tmp_path)
    await here.until(lambda: here.version() == 2)
    shutil.rmtree(bundle)
    await here.until(lambda: here.states() == {1: "ready"})
    assert here.version() == 1


async def test_a_deleted_version_goes_on_where_the_one_before_is_bad(tmp_path: Path, here: Kept) -> None:
    bundle = publish(tmp_path)
    await here.until(lambda: here.version() == 2)
    damage(tmp_path / "fake" / "1")
    shutil.rmtree(bundle)
    await here.until(lambda: here.states() == {1: "refused", 2: "ready"})
    await ask(here.models.find(TASK, None, None))


async def test_a_model_whose_folder_is_deleted_goes(tmp_path: Path, here: Kept) -> None:
    publish(tmp_path, name="other")
    await here.until(lambda: here.states("other") == {1: "ready"})
    shutil.rmtree(tmp_path / "fake")
    await here.until(lambda: here.states() == {})
    with pytest.raises(ModelNotFound, match="no model 'fake'; there are other"):
        here.models.find(TASK, "fake", None)
    publish(tmp_path)
    await here.until(lambda: here.states() == {1: "ready"})


async def test_a_repository_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    publish(folder)
    async with kept(folder, POLL_S) as here:
        folder.rename(tmp_path / "away")
        await here.a_few_looks()
        assert here.version() == 1
        (tmp_path / "away").rename(folder)
        publish(folder)
        await here.until(lambda: here.version() == 2)


async def test_a_repository_that_appears_is_read(tmp_path: Path) -> None:
    async with kept(tmp_path / "models", POLL_S) as here:
        assert "cannot be read" in here.models.not_ready_because()
        publish(tmp_path / "models")
        await here.until(lambda: here.models.not_ready_because() == "")


async def test_a_service_stays_ready_while_a_version_is_loading(tmp_path: Path, here: Kept) -> None:
    seen = []
    publish(tmp_path)
    async with asyncio.timeout(10):
        while here.states().get(2) != "ready":
            seen.append((here.states().get(2), here.models.not_ready_because()))
            await asyncio.sleep(0)
    assert ("loading", "") in seen
    assert {reason for _, reason in seen} == {""}


async def test_the_newest_n_versions_answer_to_their_numbers(tmp_path: Path) -> None:
    write_settings(tmp_path, "version_policy = {latest = 2}")
    for _ in range(3):
        publish(tmp_path)
    async with kept(tmp_path, POLL_S) as here:
        assert here.states() == {2: "ready", 3: "ready"}
        assert here.version() == 3
        assert here.models.find(TASK, "fake", 2).version == 2
        assert here.models.find(TASK, None, 2).version == 2
        damage(publish(tmp_path))
        await here.until(lambda: here.states() == {2: "ready", 3: "ready", 4: "refused"})
        publish(tmp_path)
        await here.until(lambda: here.version() == 5)
        await here.until(lambda: here.states() == {2: "unloaded", 3: "ready", 4: "refused", 5: "ready"})


async def test_only_named_versions_answer_where_some_are_named(tmp_path: Path) -> None:
    write_settings(tmp_path, "version_policy = {specific = [1, 3, 9]}")
    for _ in range(4):
        publish(tmp_path)
    async with kept(tmp_path, POLL_S) as here:
        assert here.states() == {1: "ready", 3: "ready", 9: "refused"}
        assert "names this version, and it is not there" in here.state(9).reason
        assert here.version() == 3
        publish(tmp_path)
        await here.a_few_looks()
        assert here.version() == 3


async def test_all_versions_answer_where_all_are_wanted(tmp_path: Path) -> None:
    write_settings(tmp_path, 'version_policy = "all"')
    publish(tmp_path)
    damage(publish(tmp_path))
    async with kept(tmp_path, POLL_S) as here:
        publish(tmp_path)
        await here.until(lambda: here.states() == {1: "ready", 2: "refused", 3: "ready"})


async def test_a_change_of_policy_is_followed(tmp_path: Path, here: Kept) -> None:
    publish(tmp_path)
    await here.until(lambda: here.version() == 2)
    newest = here.models.find(TASK, None, None)
    write_settings(tmp_path, "version_policy = {specific = [1]}")
    await here.until(lambda: here.states() == {1: "ready", 2: "unloaded"})
    write_settings(tmp_path, 'version_policy = "all"')
    await here.until(lambda: here.states() == {1: "ready", 2: "ready"})
    assert here.models.find(TASK, None, None) is not newest


async def test_settings_of_how_a_model_is_run_are_applied_by_serving_it_anew(tmp_path: Path, here: Kept) -> None:
    write_settings(tmp_path, "max_batch_size = 3")
    await here.until(lambda: here.models.find(TASK, None, None).settings.max_batch_size == 3)
    assert here.states() == {1: "ready"}


async def test_settings_that_break_leave_those_from_before_in_force(tmp_path: Path, here: Kept) -> None:
    old = here.models.find(TASK, None, None)
    write_settings(tmp_path, "max_batch_size = 0")
    await here.until(lambda: "max_batch_size" in here.state(1).reason)
    assert here.state(1).state == "ready"
    assert here.models.find(TASK, None, None) is old
    assert here.models.not_ready_because() == ""
    write_settings(tmp_path, "max_batch_size = 2")
    await here.until(lambda: here.models.find(TASK, None, None).settings.max_batch_size == 2)
    assert here.state(1).reason == ""


async def test_without_polling_nothing_changes_by_itself(tmp_path: Path) -> None:
    publish(tmp_path)
    async with kept(tmp_path) as here:
        publish(tmp_path)
        await here.a_few_looks()
        assert here.states() == {1: "ready"}


async def test_requests_that_run_through_many_swaps_are_all_answered(tmp_path: Path, here: Kept) -> None:
    labels = {version: tuple(f"{letter}{version}" for letter in "abc") for version in range(2, 7)}
    answered: list[tuple[int, str]] = []
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            served = here.models.find(TASK, None, None)
            answered.append((served.version, (await ask(served)).label))

    clients = [asyncio.create_task(client()) for _ in range(8)]
    for version, names in labels.items():
        publish(tmp_path, names)
        await here.until(lambda version=version: here.version() == version)
    await here.until(lambda: answered[-1][0] == max(labels))
    stop.set()
    await asyncio.gather(*clients)
    assert len(answered) > 100
    assert {version for version, _ in answered} == {1, *labels}
    assert all(label in labels[version] for version, label in answered if version > 1)
