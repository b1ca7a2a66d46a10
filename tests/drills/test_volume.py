"""The model volume is read-only, full, slow, silent or gone: what answers goes on answering, and says what is wrong."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.builders import FAKE_FILE, write_fake_bundle
from tests.drills.asking import asking, figure, once, version, within
from tests.drills.conftest import Seen
from tests.drills.machine import mirrored, mount, needs, needs_root, tmpfs
from tests.serving.onnx_bundles import write_onnx_bundle
from tests.serving.running import Server, running

POLL = "--poll-s=0.2"
READABLE = "modelyard_repository_readable"
SOON_S = 20.0
SLOW_LOOK_S = 10.0
"""serving/repository/watch.py tells of a look that takes so long."""


def ready(server: Server) -> int:
    return once(server, "/v2/health/ready").status_code


def elsewhere(models: Path, folder: Path) -> Path:
    """Version 2 of 'fake', made where nobody looks."""
    apart = Path(shutil.copytree(models, folder / "apart"))
    return write_fake_bundle(apart, labels=("red", "green"))


@pytest.mark.drill
def test_a_read_only_volume_serves_as_any_other(models: Path, tmp_path: Path, seen: Seen) -> None:
    needs_root()
    with tmpfs(tmp_path / "volume") as volume:
        shutil.copytree(models / "fake", volume / "fake")
        subprocess.run(["mount", "-o", "remount,ro", str(volume)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (volume / "touch").touch()
        with running(volume, tmp_path, POLL) as server:
            server.wait_for_status("/v2/health/ready", 200)
            with asking(server) as asked:
                time.sleep(2)
            assert asked.statuses.keys() == {200}
            assert figure(server, READABLE) == 1
            assert "ERROR" not in server.stderr()
            assert "WARNING" not in server.stderr()
            seen(asked)


@pytest.mark.drill
def test_a_bundle_that_a_full_volume_cuts_short_replaces_nothing(models: Path, tmp_path: Path, seen: Seen) -> None:
    needs_root()
    second = elsewhere(models, tmp_path)
    with tmpfs(tmp_path / "volume", "64k") as volume:
        shutil.copytree(models / "fake", volume / "fake")
        with running(volume, tmp_path, POLL) as server, asking(server) as asked:
            server.wait_for_status("/v2/health/ready", 200)
            ballast = volume / ".ballast"
            with pytest.raises(OSError, match="No space"):
                ballast.write_bytes(bytes(2**17))
            target = volume / "fake" / "2"
            target.mkdir()
            for file in sorted(second.iterdir()):
                if file.is_file():
                    subprocess.run(["cp", str(file), str(target)], check=False, capture_output=True)
            assert (target / "manifest.json").stat().st_size == 0, "there was room after all"
            server.wait_until(lambda: "version 2" in server.stderr(), "the half bundle to be refused")
            assert version(server) == 1
            assert ready(server) == 200
            assert figure(server, "modelyard_load_failures_total") >= 1
            ballast.unlink()
            shutil.copytree(second, target, dirs_exist_ok=True)
            took = within(SOON_S, lambda: version(server) == 2, "the whole bundle to be served")
        assert asked.statuses.keys() == {200}
        seen(f"{asked}; served {took:.1f} s after there was room and it was whole")


@pytest.mark.drill
def test_a_volume_that_hangs_stops_no_answer_and_is_told(models: Path, tmp_path: Path, seen: Seen) -> None:
    with mirrored(models, tmp_path / "volume") as mirror, running(mirror.at, tmp_path, POLL) as server:
        server.wait_for_status("/v2/health/ready", 200)
        with asking(server) as asked:
            mirror.hang()
            told = within(SLOW_LOOK_S + SOON_S, lambda: "hangs or is very slow" in server.stderr(), "it to be told")
            assert figure(server, READABLE) == 0
            assert ready(server) == 200
            mirror.go_on()
            server.wait_until(lambda: "can be read again" in server.stderr(), "the volume to be read again")
            write_fake_bundle(models, labels=("red", "green"))
            took = within(SOON_S, lambda: version(server) == 2, "what was published to be served")
            assert figure(server, READABLE) == 1
        assert asked.statuses.keys() == {200}
        seen(f"{asked}; told after {told:.0f} s; the next version is served {took:.1f} s after it was published")


@pytest.mark.drill
def test_a_process_ends_in_time_though_its_volume_hangs(models: Path, tmp_path: Path, seen: Seen) -> None:
    with mirrored(models, tmp_path / "volume") as mirror, running(mirror.at, tmp_path, POLL) as server:
        server.wait_for_status("/v2/health/ready", 200)
        mirror.hang()
        time.sleep(1)  # until a look hangs in it
        start = time.monotonic()
        server.terminate()
        assert server.process.wait(SOON_S) == 0
        assert "something still hangs" in server.stderr()
        seen(f"exit code 0 after {time.monotonic() - start:.1f} s")


@pytest.mark.drill
def test_a_start_on_a_volume_that_hangs_is_live_and_becomes_ready_when_it_answers(
    models: Path, tmp_path: Path, seen: Seen
) -> None:
    with mirrored(models, tmp_path / "volume") as mirror:
        mirror.hang()
        with running(mirror.at, tmp_path, POLL) as server:
            answer = once(server, "/v2/health/ready")
            assert answer.status_code == 503
            assert "has not been read yet" in answer.json()["error"]
            assert once(server, "/v2/health/live").status_code == 200
            mirror.go_on()
            took = within(SOON_S, lambda: ready(server) == 200, "it to become ready")
            seen(f"503 with the reason; ready {took:.1f} s after the volume answered")


@pytest.mark.drill
def test_a_slow_volume_makes_a_new_version_late_and_no_answer(models: Path, tmp_path: Path, seen: Seen) -> None:
    with (
        mirrored(models, tmp_path / "volume", "--read-rate=300k") as mirror,
        running(mirror.at, tmp_path, POLL) as server,
    ):
        server.wait_for_status("/v2/health/ready", 200)
        with asking(server) as asked:
            bundle = write_onnx_bundle(models, "large", hidden=200)
            size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
            took = within(120, lambda: once(server, "/v2/models/large/ready").status_code == 200, "it to be served")
        assert set(asked.statuses) <= {200, 404}  # 404: it no longer goes without saying which model is meant
        assert asked.slowest_s < 5
        seen(f"{size / 1e6:.1f} MB at 0.3 MB/s served after {took:.0f} s; meanwhile {asked}")


@pytest.mark.drill
def test_a_volume_whose_server_died_and_came_back(models: Path, tmp_path: Path, seen: Seen) -> None:
    with mirrored(models, tmp_path / "volume") as mirror, running(mirror.at, tmp_path, POLL) as server:
        server.wait_for_status("/v2/health/ready", 200)
        with asking(server) as asked:
            mirror.die()
            server.wait_until(lambda: "cannot be read: Transport endpoint" in server.stderr(), "it to be told")
            assert ready(server) == 200
            assert figure(server, READABLE) == 0
            subprocess.run(["umount", "-l", str(mirror.at)], check=True)
            mirror.mount()
            write_fake_bundle(models, labels=("red", "green"))
            took = within(SOON_S, lambda: version(server) == 2, "the next version to be served")
        assert asked.statuses.keys() == {200}
        seen(f"{asked}; a new version is served {took:.1f} s after the volume was back")


@pytest.mark.drill
def test_an_unmounted_volume_is_no_deletion_of_its_models(models: Path, tmp_path: Path, seen: Seen) -> None:
    needs_root()
    with tmpfs(tmp_path / "volume") as volume:
        shutil.copytree(models / "fake", volume / "fake")
        with running(volume, tmp_path, POLL) as server:
            server.wait_for_status("/v2/health/ready", 200)
            with asking(server) as asked:
                subprocess.run(["umount", "-l", str(volume)], check=True)
                server.wait_until(lambda: "is its volume mounted?" in server.stderr(), "it to be told")
                time.sleep(1)
                assert ready(server) == 200
                assert figure(server, READABLE) == 0
                mount(volume)
                shutil.copytree(models / "fake", volume / "fake")
                within(SOON_S, lambda: figure(server, READABLE) == 1, "the volume to be read again")
            assert asked.statuses.keys() == {200}
            seen(asked)


@pytest.mark.drill
def test_a_repository_that_is_moved_away_and_comes_back(models: Path, tmp_path: Path, seen: Seen) -> None:
    with running(models, tmp_path, POLL) as server:
        server.wait_for_status("/v2/health/ready", 200)
        with asking(server) as asked:
            away = models.rename(tmp_path / "away")
            server.wait_until(lambda: "the model repository cannot be read" in server.stderr(), "it to be told")
            assert ready(server) == 200
            assert figure(server, READABLE) == 0
            away.rename(models)
            server.wait_until(lambda: "can be read again" in server.stderr(), "it to be read again")
            write_fake_bundle(models, labels=("red", "green"))
            took = within(SOON_S, lambda: version(server) == 2, "the next version to be served")
        assert asked.statuses.keys() == {200}
        assert server.stderr().count("cannot be read") == 1  # once, not at every look
        seen(f"{asked}; a new version is served {took:.1f} s after the folder was back")


def test_a_half_written_bundle_is_refused_until_it_is_whole(models: Path, tmp_path: Path, seen: Seen) -> None:
    second = elsewhere(models, tmp_path)
    with running(models, tmp_path, POLL) as server:
        server.wait_for_status("/v2/health/ready", 200)
        target = models / "fake" / "2"
        with asking(server) as asked:
            target.mkdir()
            shutil.copy(second / FAKE_FILE, target)
            time.sleep(1)
            assert "version 2" not in server.stderr()  # no manifest: somebody is still copying
            manifest = (second / "manifest.json").read_bytes()
            (target / "manifest.json").write_bytes(manifest[: len(manifest) // 2])
            server.wait_until(lambda: "refused: version 2" in server.stderr(), "half a manifest to be refused")
            (target / "manifest.json").write_bytes(manifest)
            server.wait_until(lambda: server.stderr().count("refused: version 2") == 2, "missing files to be refused")
            assert version(server) == 1
            assert ready(server) == 200
            shutil.copytree(second, target, dirs_exist_ok=True)
            took = within(SOON_S, lambda: version(server) == 2, "the whole bundle to be served")
        assert asked.statuses.keys() == {200}
        seen(f"{asked}; served {took:.1f} s after it was whole")


def test_a_bundle_overwritten_in_place_answers_on_as_it_was_loaded(models: Path, tmp_path: Path, seen: Seen) -> None:
    bundle = models / "fake" / "1"
    other = write_fake_bundle(tmp_path / "other", labels=("red", "green"))
    with running(models, tmp_path, POLL) as server:
        server.wait_for_status("/v2/health/ready", 200)
        with asking(server) as asked:
            shutil.copy(other / "manifest.json", bundle)  # one of two files: neither the old bundle nor the new
            shutil.copy(other / "golden" / "answers.json", bundle / "golden" / "answers.json")
            (bundle / FAKE_FILE).write_bytes(b"{}")
            server.wait_until(lambda: "refused: version 1" in server.stderr(), "the mixture to be refused")
            assert once(server).json()["predictions"][0]["label"] in ("cat", "dog", "owl")
            assert ready(server) == 200
            shutil.copytree(other, bundle, dirs_exist_ok=True)
            took = within(
                SOON_S,
                lambda: once(server).json()["predictions"][0]["label"] in ("red", "green"),
                "the whole other bundle to be served",
            )
        assert asked.statuses.keys() == {200}
        seen(f"{asked}; the other bundle is served {took:.1f} s after it was whole")


@pytest.mark.drill
def test_a_link_that_is_swapped_is_a_new_version(models: Path, tmp_path: Path, seen: Seen) -> None:
    second = tmp_path / "second"
    shutil.copytree(models, second)
    write_fake_bundle(second, labels=("red", "green"))
    link, new = tmp_path / "current", tmp_path / "new"
    link.symlink_to(models)
    with running(link, tmp_path, POLL) as server:
        server.wait_for_status("/v2/health/ready", 200)
        with asking(server) as asked:
            new.symlink_to(second)
            new.replace(link)
            took = within(SOON_S, lambda: version(server) == 2, "the other repository to be served")
            assert ready(server) == 200
        assert asked.statuses.keys() == {200}
        seen(f"{asked}; served {took:.1f} s after the swap")


@pytest.mark.drill
def test_a_folder_that_may_not_be_read_keeps_no_other_model_back(models: Path, tmp_path: Path, seen: Seen) -> None:
    needs("setpriv", "util-linux")
    powerless: tuple[str, ...] = ()
    if os.geteuid() == 0:  # root may read everything, unless it gives that up
        powerless = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    write_fake_bundle(models, "second")
    shut = models / "second"
    shut.chmod(0o000)
    try:
        with running(models, tmp_path, POLL, prefix=powerless) as server:
            server.wait_for_status("/v2/health/ready", 200)
            assert version(server) == 1
            told = {one["name"]: one for one in server.client.post("/v2/repository/index").json()}
            assert told["second"]["state"] == "UNAVAILABLE"
            assert "Permission denied" in told["second"]["reason"]
            write_fake_bundle(models, labels=("red", "green"))
            within(SOON_S, lambda: version(server) == 2, "the other model to be followed")
            shut.chmod(0o755)
            took = within(SOON_S, lambda: once(server, "/v2/models/second/ready").status_code == 200, "it to be served")
            seen(f"'second' refused with 'Permission denied', 'fake' followed; served {took:.1f} s after chmod")
    finally:
        shut.chmod(0o755)
