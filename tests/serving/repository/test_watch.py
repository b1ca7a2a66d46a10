"""Looks at a repository that cannot be read, takes long, or is another folder than it was."""

import threading
from pathlib import Path

import pytest

from serving.repository import watch
from tests.serving.repositories import POLL_S, kept, publish

pytestmark = pytest.mark.anyio


async def test_a_folder_that_cannot_be_read_is_shown_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    publish(folder)
    async with kept(folder, POLL_S) as here:
        assert here.counted.readable == [True]
        folder.rename(tmp_path / "away")
        await here.until(lambda: here.counted.readable[-1] is False)
        (tmp_path / "away").rename(folder)
        await here.until(lambda: here.counted.readable[-1] is True)


async def test_a_look_that_takes_long_is_told_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, hangs = tmp_path / "models", threading.Event()
    publish(folder)
    monkeypatch.setattr(watch, "SLOW_S", 0.05)
    async with kept(folder, POLL_S) as here:
        look = watch.scan
        monkeypatch.setattr(watch, "scan", lambda *args: (hangs.wait(), look(*args))[1])
        await here.until(lambda: "hangs or is very slow" in caplog.text)
        assert here.counted.readable[-1] is False
        assert here.version() == 1
        hangs.set()
        publish(folder)
        await here.until(lambda: here.version() == 2)
        assert here.counted.readable[-1] is True


async def test_an_empty_folder_in_the_place_of_the_repository_is_no_deletion(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "models"
    publish(folder)
    async with kept(folder, POLL_S) as here:
        folder.rename(tmp_path / "away")
        folder.mkdir()
        await here.until(lambda: "is its volume mounted?" in caplog.text)
        await here.a_few_looks()
        assert here.version() == 1
        folder.rmdir()
        (tmp_path / "away").rename(folder)
        publish(folder)
        await here.until(lambda: here.version() == 2)
