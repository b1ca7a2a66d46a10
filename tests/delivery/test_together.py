"""Fetches as processes of their own: killed in the middle, two at once, beside a running service."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="httpx belongs to the fetch extra")

from bundle.store import names, open_bundle
from delivery.room import FOLDER, Room
from tests.builders import png, write_fake_bundle
from tests.delivery.imitated_registry import Registry, digest_of, files_of, serving_registry
from tests.delivery.test_fetch import ARTEFACT, ROOT, left_in_room
from tests.serving.running import PATIENCE_S, environment_with, running


@pytest.fixture
def registry(source: Path) -> Iterator[Registry]:
    """One of whose files only the first half comes, until it is let go."""
    with serving_registry() as registry:
        files = files_of(source / "digits/2")
        registry.push_files("digits:2", files)
        registry.stalled[digest_of(files[ARTEFACT])] = threading.Event()
        yield registry


def let_go(registry: Registry) -> None:
    for event in registry.stalled.values():
        event.set()


def is_asked_for(registry: Registry) -> bool:
    """Whether somebody waits for that file."""
    return any(path.endswith(digest) for path, _ in registry.asked for digest in registry.stalled)


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "modelyard.py", "fetch", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment_with({}),
    )  # fmt: skip


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def test_a_fetch_that_is_killed_leaves_no_bundle_and_the_next_one_clears_up_and_brings_it(
    registry: Registry, models: Path
) -> None:
    with start(registry.address("digits:2"), "--repository", models) as first:
        wait_until(lambda: is_asked_for(registry), "the file to be half there")
        os.kill(first.pid, signal.SIGKILL)
    assert names(models) == []
    assert len(left_in_room(models)) == 2  # the bundle's folder, and the artefact's
    let_go(registry)
    with start(registry.address("digits:2"), "--repository", models) as second:
        printed, told = second.communicate(timeout=PATIENCE_S)
    assert (second.returncode, printed) == (0, f"{models}/digits/2\n"), told
    assert "left by a fetch that was cut off: removed" in told
    open_bundle(models / "digits/2")
    assert left_in_room(models) == []


def test_of_two_at_once_one_waits_and_takes_what_the_other_brought(registry: Registry, models: Path) -> None:
    fetches = (registry.address("digits:2"), "--repository", models)
    with start(*fetches) as first:
        wait_until(lambda: is_asked_for(registry), "the first to work")
        with start(*fetches) as second:
            assert second.stderr
            assert "another fetch works on it; waiting" in second.stderr.readline()
            let_go(registry)
            results = [one.communicate(timeout=PATIENCE_S) for one in (first, second)]
    assert [one.returncode for one in (first, second)] == [0, 0], results
    assert [printed for printed, _ in results] == [f"{models}/digits/2\n"] * 2
    assert sum(path.endswith(digest) for path, _ in registry.asked for digest in registry.stalled) == 1


def test_what_a_living_fetch_has_begun_is_not_cleared_away(models: Path) -> None:
    told: list[str] = []
    room = Room(models, told.append)
    with room.held("digits-2"), room.workspace("digits-2") as workspace:
        Room(models, told.append)
        assert workspace.is_dir()
    assert told == []


def test_a_folder_without_locks_is_cleared_of_what_is_old_alone(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("delivery.room.fcntl.flock", refuse)
    for name in ("digits-1-young", "digits-2-old"):
        (models / FOLDER / name).mkdir(parents=True)
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(models / FOLDER / "digits-2-old", (long_ago, long_ago))
    room = Room(models, lambda _: None)
    assert left_in_room(models) == ["digits-1-young"]
    with room.held("digits-3"):
        pass


def test_a_running_service_takes_the_new_version_and_never_half_of_one(source: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_fake_bundle(models, "digits")
    first = open_bundle(models / "digits/1").manifest.digest
    assert first == open_bundle(source / "digits/1").manifest.digest
    with running(models, tmp_path, "--poll-s=0.05") as server:
        server.wait_for_status("/v2/health/ready", 200)
        with start(source, "--repository", models) as fetching:
            printed, told = fetching.communicate(timeout=PATIENCE_S)
        assert fetching.returncode == 0, told

        def newest() -> bool:
            return bool(server.client.post("/v1/classify?model=digits", content=png()).json().get("version") == 2)

        server.wait_until(newest, "the new version to answer")
        assert server.client.post("/v1/classify?model=shapes", content=png()).status_code == 200
        assert "refused" not in server.stderr()
    assert printed.splitlines() == [f"{models}/digits/2", f"{models}/shapes/1"]
