"""Several workers in one process, over one shared folder: what each says of all, and changes that all make."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bundle.errors import ModelNotFound, ModelNotReady, RuntimeFailed
from serving.workers import fleet as fleet_module
from serving.workers.fleet import Fleet
from serving.workers.shared import Command, ModelReport, Outcome, Place, Report, Shared
from tests.serving.running import SETTLE_S

pytestmark = pytest.mark.anyio


@dataclass
class FakeRepository:
    """Models that do as they are told, and remember it."""

    models: list[ModelReport] = field(default_factory=lambda: [ModelReport("a", 1, "ready")])
    not_ready: str = ""
    not_live: str = ""
    told: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def not_ready_because(self) -> str:
        return self.not_ready

    def not_live_because(self) -> str:
        return self.not_live

    async def load(self, name: str) -> None:
        await self._do("load", name)

    async def unload(self, name: str) -> None:
        await self._do("unload", name)

    async def rollback(self, name: str) -> int:
        await self._do("rollback", name)
        return 7

    async def promote(self, name: str) -> int:
        await self._do("promote", name)
        return 8

    async def _do(self, what: str, name: str) -> None:
        await asyncio.sleep(0)
        self.told.append(f"{what} {name}")
        if self.failure:
            raise self.failure


async def nothing() -> None:
    """A repository that is loaded at once."""


@dataclass
class Yard:
    """A folder, and workers in it by place."""

    shared: Shared
    fleets: dict[int, Fleet] = field(default_factory=dict)
    repositories: dict[int, FakeRepository] = field(default_factory=dict)
    announced: list[int] = field(default_factory=list)

    async def start(self, index: int, generation: int = 0) -> Fleet:
        place = Place(str(self.shared.folder), index, self.shared.number, os.getppid(), generation)
        repository = self.repositories.setdefault(index, FakeRepository())
        fleet = Fleet(place, repository, lambda: self.announced.append(index))
        self.fleets[index] = fleet
        await fleet.start(nothing())
        return fleet

    async def kill(self, index: int) -> None:
        """What remains of a process that died: its last report, and no lock."""
        fleet = self.fleets.pop(index)
        for task in fleet._tasks:
            task.cancel()
        await asyncio.gather(*fleet._tasks, return_exceptions=True)
        os.close(fleet._lock)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SETTLE_S):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def workers(folder: Path, number: int = 2) -> AsyncIterator[Yard]:
    yard = Yard(Shared(folder, number))
    for index in range(number):
        await yard.start(index)
    await yard.until(lambda: not any(one.not_ready_because() for one in yard.fleets.values()))
    try:
        yield yard
    finally:
        for index in list(yard.fleets):
            await yard.fleets[index].stop()
            await yard.kill(index)


async def test_all_are_ready_only_when_each_is(tmp_path: Path) -> None:
    yard = Yard(Shared(tmp_path, 2))
    first = await yard.start(0)
    assert first.not_ready_because() == (
        "it does what it missed while it was not there; worker 2 of 2: it does not run; it is being started"
    )
    second = await yard.start(1)
    await yard.until(lambda: not first.not_ready_because() and not second.not_ready_because())
    await yard.kill(0)
    await yard.kill(1)


async def test_one_that_is_not_ready_makes_all_say_so_with_its_reason(tmp_path: Path) -> None:
    async with workers(tmp_path, 3) as yard:
        yard.repositories[1].not_ready = "loading b"
        await yard.until(lambda: yard.fleets[0].not_ready_because() == "worker 2 of 3: loading b")
        assert yard.fleets[1].not_ready_because() == "loading b"
        assert yard.fleets[2].not_live_because() == ""


async def test_one_that_should_be_started_again_makes_all_say_so(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        yard.repositories[1].not_live = "the device hangs"
        await yard.until(lambda: yard.fleets[0].not_live_because() == "worker 2 of 2: the device hangs")
        assert yard.fleets[1].not_live_because() == "the device hangs"


async def test_a_dead_one_is_known_at_once_and_is_no_reason_to_start_all_again(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        await yard.kill(1)
        assert "worker 2 of 2: it does not run" in yard.fleets[0].not_ready_because()
        assert yard.fleets[0].not_live_because() == ""


async def test_one_in_a_dead_ones_place_counts_as_ready_only_by_its_own_word(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        await yard.kill(1)
        lock = yard.shared.claim(1)
        assert yard.fleets[0].not_ready_because() == "worker 2 of 2: it has only just been started"
        os.close(lock)
        await yard.start(1, generation=1)
        assert yard.fleets[0].not_ready_because() == ""


async def test_one_that_hangs_is_known_by_its_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workers(tmp_path) as yard:
        for task in yard.fleets[1]._tasks:
            task.cancel()
        assert yard.fleets[0].not_ready_because() == ""
        monkeypatch.setattr(fleet_module, "HUNG_S", 0.2)
        await yard.until(lambda: "worker 2 of 2: it hangs" in yard.fleets[0].not_ready_because())


async def test_one_that_leaves_says_so(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        await yard.fleets[1].stop()
        assert yard.fleets[0].not_ready_because() == "worker 2 of 2: it is leaving"


async def test_models_are_announced_once_whoever_sees_it_first_and_however_often_one_starts(tmp_path: Path) -> None:
    async with workers(tmp_path, 3) as yard:
        await yard.until(lambda: len(yard.announced) == 1)
        await yard.kill(0)
        await yard.start(0, generation=1)
        await asyncio.sleep(3 * fleet_module.BEAT_S)
        assert len(yard.announced) == 1


async def test_a_change_is_made_by_all_before_it_is_answered(tmp_path: Path) -> None:
    async with workers(tmp_path, 3) as yard:
        await yard.fleets[1].unload("a")
        assert [one.told for one in yard.repositories.values()] == [["unload a"]] * 3
        assert await yard.fleets[0].rollback("a") == 7
        assert await yard.fleets[2].promote("a") == 8
        assert [one.told for one in yard.repositories.values()] == [["unload a", "rollback a", "promote a"]] * 3


async def test_changes_asked_of_different_workers_at_once_are_made_in_one_order_everywhere(tmp_path: Path) -> None:
    async with workers(tmp_path, 3) as yard:
        async with asyncio.TaskGroup() as group:
            for i in range(12):
                group.create_task(yard.fleets[i % 3].load(f"m{i}"))
        orders = [one.told for one in yard.repositories.values()]
        assert len(orders[0]) == 12
        assert orders[0] == orders[1] == orders[2]


async def test_a_failure_everywhere_is_told_as_it_is(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        for repository in yard.repositories.values():
            repository.failure = ModelNotFound("failed to load 'x': no such model")
        with pytest.raises(ModelNotFound, match=r"^failed to load 'x': no such model$"):
            await yard.fleets[0].load("x")


async def test_a_failure_in_one_tells_which(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        yard.repositories[1].failure = ModelNotReady("no memory")
        with pytest.raises(ModelNotReady, match=r"no memory \(in workers \[2\], not in the others\)"):
            await yard.fleets[0].load("a")
        yard.repositories[1].failure = ValueError("bug")
        with pytest.raises(RuntimeFailed, match="unforeseen: ValueError: bug"):
            await yard.fleets[0].load("a")


async def test_one_that_does_not_answer_is_named_when_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "COMMAND_S", 0.5)
    async with workers(tmp_path) as yard:
        await yard.kill(1)
        with pytest.raises(ModelNotReady, match=r"workers \[2\] have not done it within 0.5 s"):
            await yard.fleets[0].unload("a")


async def test_one_that_is_started_later_is_brought_to_where_the_others_are(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        await yard.fleets[0].unload("a")
        await yard.fleets[0].unload("b")
        await yard.fleets[0].load("b")
        await yard.kill(1)
        waiting = asyncio.create_task(yard.fleets[0].rollback("c"))
        await yard.until(lambda: yard.repositories[0].told[-1] == "rollback c")
        yard.repositories[1].told.clear()
        await yard.start(1, generation=1)
        await asyncio.wait_for(waiting, SETTLE_S)
        assert yard.repositories[1].told == ["unload a", "rollback c"]  # loaded is what everything is at a start


async def test_commands_do_not_pile_up(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        for _ in range(5):
            await yard.fleets[0].load("a")
        await yard.fleets[1].load("b")
        files = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("command", "outcome")))
        assert len(files) == 2 * 3, files


async def test_the_index_tells_the_worst_that_a_version_is_anywhere(tmp_path: Path) -> None:
    async with workers(tmp_path) as yard:
        yard.repositories[0].models = [ModelReport("a", 1, "ready"), ModelReport("b", 2, "refused", "sha256")]
        yard.repositories[1].models = [ModelReport("a", 1, "draining"), ModelReport("b", 2, "refused", "sha256")]
        expected = [ModelReport("a", 1, "draining"), ModelReport("b", 2, "refused", "sha256")]
        await yard.until(lambda: yard.fleets[0].models == expected == yard.fleets[1].models)
        yard.repositories[1].models = [ModelReport("b", 2, "ready")]
        expected = [
            ModelReport("a", 1, "loading", "worker 2 of 2: it does not know this version yet"),
            ModelReport("b", 2, "refused", "worker 1 of 2: sha256"),
        ]
        await yard.until(lambda: yard.fleets[0].models == expected)


async def test_commands_of_several_processes_get_different_numbers(tmp_path: Path) -> None:
    shared = Shared(tmp_path, 2)
    numbers = await asyncio.gather(*(asyncio.to_thread(shared.command, Command("load", f"m{i}")) for i in range(40)))
    assert sorted(numbers) == list(range(1, 41))
    assert list(shared.commands(after=38)) == [39, 40]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("temporary")]


def test_a_lock_tells_who_lives_and_looking_does_not_take_it(tmp_path: Path) -> None:
    shared = Shared(tmp_path, 1)
    assert not shared.is_alive(0)
    lock = shared.claim(0)
    assert shared.is_alive(0)
    assert shared.is_alive(0)
    os.close(lock)
    assert not shared.is_alive(0)
    assert shared.reported(0) is not None


def test_a_report_and_an_outcome_come_back_as_they_were_written(tmp_path: Path) -> None:
    shared = Shared(tmp_path, 1)
    report = Report(1, time.monotonic(), "why", "why else", [ModelReport("a", 1, "ready")], 3)
    shared.report(0, report)
    shared.conclude(1, 0, Outcome(5))
    assert shared.reported(0) == report
    assert shared.concluded(1, 0) == Outcome(5)


def test_a_place_travels_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Place.given() is None
    place = Place("/somewhere", 1, 2, 3, 4)
    for name, value in place.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Place.given() == place
