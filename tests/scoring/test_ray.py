"""Jobs on a Ray cluster of two nodes: nothing lost or doubled when one dies, the local runner's bytes, clear errors."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoring.job import Settings, score
from tests.scoring.ray_cluster import TwoNodes, two_nodes
from tests.scoring.running import command, content, environment, parts, rows, run, summary, write_series
from tests.serving.running import free_port

pytest.importorskip(
    "ray.data", reason="ray is not installed: pip install 'modelyard[scoring-ray]'", exc_type=ImportError
)

pytestmark = pytest.mark.timeout(600)

NUM_ROWS, PER_SHARD, BAD = 30_000, 1000, range(0, 30_000, 997)
PATIENCE_S = 240.0
BEGUN = 5
"""Shards that were finished on this machine before a cluster goes on."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("given") / "in.parquet", NUM_ROWS, BAD, row_group=2000)


@pytest.fixture(scope="module")
def undisturbed(series_bundle: Path, given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local runner writes."""
    output = tmp_path_factory.mktemp("local") / "out"
    score(Settings(series_bundle, str(given), str(output), rows_per_shard=PER_SHARD))
    return output


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "models").mkdir()
    with two_nodes(folder) as cluster:
        yield cluster


def begin(*arguments: object, cluster: TwoNodes, cwd: Path | None = None) -> "subprocess.Popen[str]":
    asked = command(*arguments, "--runner", "ray", "--ray-address", cluster.address)
    return subprocess.Popen(
        asked, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd
    )


SLOW_TO_LEAVE = """
import os, sys, ray
ray.shutdown = lambda *_: os._exit(1)
import modelyard; modelyard.main(sys.argv[1:])
"""
"""Ray, where leaving a cluster takes it longer than it allows itself."""


def wait_until(holds: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def finished(output: Path) -> int:
    return len(list(output.glob("_done/*.json")))


def test_a_node_dies_in_the_middle_of_a_job_begun_elsewhere_and_nothing_is_lost_or_doubled(
    series_bundle: Path, given: Path, undisturbed: Path, cluster: TwoNodes, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    for path in [*parts(output)[BEGUN:], *sorted(output.glob("_done/*.json"))[BEGUN:], output / "_summary.json"]:
        path.unlink()  # as a crash of the local runner leaves it
    before = {path.name: path.stat().st_ino for path in parts(output)}
    try:
        with begin(series_bundle, given, output, "--rows-per-shard", PER_SHARD, cluster=cluster) as process:
            wait_until(lambda: finished(output) > BEGUN + 3, process)
            cluster.kill_one()
            assert finished(output) < NUM_ROWS // PER_SHARD
            told, said = process.communicate(timeout=PATIENCE_S)
    finally:
        cluster.add_one()
    assert (process.returncode, told) == (0, f"{output}\n"), said
    assert "2 nodes have to see the same files there" in said
    assert "Traceback" not in said
    assert content(output) == content(undisturbed)
    assert [row["row"] for row in rows(output)] == list(range(NUM_ROWS))
    assert {path.name: path.stat().st_ino for path in parts(output) if path.name in before} == before
    assert not (output / "_unfinished").exists()
    ours, theirs = summary(output), summary(undisturbed)
    for name in ("num_rows", "num_errors", "errors", "num_parts", "batch_size", "digest", "device"):
        assert ours[name] == theirs[name]
    assert ours["rows_now"] == NUM_ROWS - BEGUN * PER_SHARD
    assert ours["batch_p50_ms"] > 0


def test_a_driver_is_killed_and_its_job_is_finished_here_or_there(
    series_bundle: Path, given: Path, undisturbed: Path, cluster: TwoNodes, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with begin(series_bundle, given, output, "--rows-per-shard", PER_SHARD, cluster=cluster) as process:
        wait_until(lambda: finished(output) > 3, process)
        process.kill()
    begun = finished(output)
    assert begun < NUM_ROWS // PER_SHARD
    shutil.copytree(output, tmp_path / "copy")
    done = score(Settings(series_bundle, str(given), str(output), rows_per_shard=PER_SHARD))
    assert 0 < done.rows_now <= NUM_ROWS - begun * PER_SHARD  # what actors finished before they ended counts as well
    assert content(output) == content(undisturbed)
    again = run(
        series_bundle, given, tmp_path / "copy", "--rows-per-shard", PER_SHARD, "--runner", "ray", "--ray-address",
        cluster.address, "--ray-actors", "1,2", timeout_s=PATIENCE_S,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert content(tmp_path / "copy") == content(undisturbed)


def test_a_bundle_that_is_damaged_on_the_nodes_gives_one_error(
    series_bundle: Path, given: Path, cluster: TwoNodes, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The nodes work in another folder than the driver, so the same path leads to another copy there."""
    theirs = next(tmp_path_factory.getbasetemp().glob("nodes*"))
    for folder in (tmp_path, theirs):
        shutil.copytree(series_bundle, folder / "models/fake/1", dirs_exist_ok=True)
    (theirs / "models/fake/1/model.fake.json").write_bytes(b"damaged")
    output = tmp_path / "out"
    with begin("/proc/self/cwd/models/fake/1", given, output, cluster=cluster, cwd=tmp_path) as process:
        told, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, told) == (1, ""), said
    assert said.splitlines()[-1].startswith("modelyard score: /proc/self/cwd/models/fake/1/model.fake.json")
    assert "Traceback" not in said
    assert len(said.splitlines()) < 6, said
    assert parts(output) == []


def test_too_many_bad_rows_stop_a_job(series_bundle: Path, cluster: TwoNodes, tmp_path: Path) -> None:
    path = write_series(tmp_path / "in.parquet", NUM_ROWS, bad=range(500, NUM_ROWS))
    asked = (series_bundle, path, tmp_path / "out", "--rows-per-shard", 250, "--max-error-share", 0.2)
    with begin(*asked, cluster=cluster) as process:
        told, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, told) == (3, ""), said
    assert "rows are bad, more than --max-error-share 0.2 allows; the first: " in said.splitlines()[-1]
    assert 3 <= finished(tmp_path / "out") < 60
    assert not (tmp_path / "out/_summary.json").exists()


def test_how_a_job_ended_is_told_where_ray_is_slow_to_be_left(
    series_bundle: Path, cluster: TwoNodes, tmp_path: Path
) -> None:
    path = write_series(tmp_path / "in.parquet", NUM_ROWS, bad=range(500, NUM_ROWS))
    asked = ["score", series_bundle, path, tmp_path / "out", "--max-error-share", 0.2, "--runner", "ray"]
    done = subprocess.run(
        [sys.executable, "-c", SLOW_TO_LEAVE, *map(str, asked), "--ray-address", cluster.address],
        capture_output=True, text=True, check=False, env=environment(), timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "allows; the first: " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ray-address", "ray://127.0.0.1:{port}"], "Ray Data does not run through Ray's client; start this command"),
        (["--ray-address", "127.0.0.1:{port}"], "--ray-address 127.0.0.1:{port}: nobody answers at"),
        (["--ray-address", "moon://x"], "--ray-address moon://x: "),
        (["--ray-actors", "0"], "--ray-actors is '0'; give a number of at least 1"),
        (["--ray-actors", "4,2"], "--ray-actors is '4,2'; give a number of at least 1"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_at_once(
    series_bundle: Path, given: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    port = free_port()
    asked = [one.format(port=port) for one in arguments]
    done = run(series_bundle, given, tmp_path / "out", "--runner", "ray", *asked)
    assert (done.returncode, done.stdout) == (1, "")
    assert said.format(port=port) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_without_ray_the_extra_is_named(series_bundle: Path, given: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; import modelyard; modelyard.main()"
    asked = [sys.executable, "-c", code, "score", series_bundle, given, tmp_path / "out", "--runner", "ray"]
    done = subprocess.run(
        list(map(os.fspath, asked)), capture_output=True, text=True, check=False, env=environment(), timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("module 'ray' is not installed; pip install 'modelyard[scoring-ray]'\n")
    assert not (tmp_path / "out").exists()
