"""The command as people start it: exit codes, what it says where, signals, two at once, limits of the system."""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from scoring.job import Settings, score
from tests.scoring.running import (
    PATIENCE_S,
    command,
    content,
    environment,
    free_port,
    parts,
    rows,
    run,
    summary,
    write_pictures,
    write_series,
)

MANY = 60_000
"""Rows that take a process some seconds."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "in", 12, bad=(3,))


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("many") / "in.parquet", MANY, row_group=5000)


def wait_until(holds: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def begun(series_bundle: Path, many: Path, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A job that has written some parts into `out` and will go on for a while."""
    arguments = command(series_bundle, many, tmp_path / "out", "--rows-per-shard", 500)
    with subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: (tmp_path / "out/part-00000-00002.parquet").exists(), process)
        yield process
        process.kill()


def test_a_job_says_where_its_output_is_and_what_became_of_the_rows(
    picture_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    done = run(picture_bundle, pictures, tmp_path / "out", "--options", "top_k=1")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out\n"), done.stderr
    assert done.stderr.startswith("12 rows in 1 parts, 1 bad (1 BadInput); 12 now, ")
    assert done.stderr.count("\n") == 1  # without a terminal there is no bar


def test_on_a_terminal_there_is_a_bar(picture_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    """Even on one that does not know how wide it is."""
    mine, its = os.openpty()
    arguments = command(picture_bundle, pictures, tmp_path / "out")
    with subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=its) as process:
        os.close(its)
        said = b""
        with contextlib.suppress(OSError):  # how the end of a terminal is told
            while piece := os.read(mine, 4096):
                said += piece
    os.close(mine)
    assert process.returncode == 0
    assert b"fake/1: 100%" in said
    assert b"12/12 [" in said


def test_a_dry_run_tells_all_and_writes_nothing(picture_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    done = run(picture_bundle, pictures, tmp_path / "out", "--dry-run", "--limit", 5)
    assert done.returncode == 0, done.stderr
    for line in ("model    fake/1 (digest ", "artefact fp32 in fake", "input    12 rows; 12 files", "limit    5"):
        assert line in done.stdout
    assert not (tmp_path / "out").exists()
    refused = run(picture_bundle, pictures, pictures / "out", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--limit", "0"], 1, "modelyard score: --limit is 0; it is at least 1\n"),
        (["--column", "text"], 1, "columns are named, and these are single files"),
        (["--max-error-share", "0.01"], 3, "1 of 12 rows are bad, more than --max-error-share 0.01 allows"),
        (["--format", "xml"], 2, "invalid choice"),
        (["--colour"], 2, "nrecognized"),
        (["--metrics-port", "99999"], 1, "--metrics-port 99999: "),
        (["--artefact", "int9"], 1, "artefact 'int9'"),
    ],
)
def test_exit_codes(
    picture_bundle: Path, pictures: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(picture_bundle, pictures, tmp_path / "out", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_job_on_one_output_is_refused_while_the_first_lives(
    begun: "subprocess.Popen[str]", series_bundle: Path, many: Path, tmp_path: Path
) -> None:
    arguments = (series_bundle, many, tmp_path / "out", "--rows-per-shard", 500)
    second = run(*arguments)
    assert second.returncode == 4
    assert f"process {begun.pid} on " in second.stderr
    assert "is writing there; choose another output, or end it" in second.stderr
    begun.kill()
    begun.wait()
    third = run(*arguments)
    assert third.returncode == 0, third.stderr
    assert [row["row"] for row in rows(tmp_path / "out")] == list(range(MANY))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_job_that_is_ended_keeps_what_is_finished_and_leaves_nothing_half_written(
    begun: "subprocess.Popen[str]", series_bundle: Path, tmp_path: Path, number: int, code: int
) -> None:
    begun.send_signal(number)
    _, said = begun.communicate(timeout=PATIENCE_S)
    assert begun.returncode == code, said
    assert "Traceback" not in said
    finished = {path.stem for path in (tmp_path / "out/_done").iterdir()}
    written = {path.stem: path for path in parts(tmp_path / "out")}
    assert finished <= written.keys()
    assert len(written) - len(finished) <= 1  # it may have been ended between a part and its document
    assert all(parquet.read_table(path).num_rows == 500 for path in written.values())
    assert len(finished) >= 2
    assert not (tmp_path / "out/_unfinished").exists()
    assert not (tmp_path / "out/_summary.json").exists()


def test_figures_can_be_scraped_while_it_runs(series_bundle: Path, many: Path, tmp_path: Path) -> None:
    port = free_port()
    arguments = command(series_bundle, many, tmp_path / "out", "--rows-per-shard", 500, "--metrics-port", port)
    seen: list[float] = []

    def scraped() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                text = answer.read().decode()
        except OSError:
            return False
        found = re.search(r'modelyard_score_rows_total{model="fake/1"} (\S+)', text)
        seen.append(float(found[1]) if found else 0.0)
        ratio = re.search(r'modelyard_score_done_ratio{model="fake/1"} (\S+)', text)
        return bool(ratio and 0 < float(ratio[1]) < 1)

    with subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(scraped, process)
        process.kill()
    assert 0 < seen[-1] < MANY


class Gateway(http.server.BaseHTTPRequestHandler):
    """Takes what is pushed."""

    pushed: dict[str, str] = {}  # noqa: RUF012 - one test, one gateway

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.pushed[self.path] = body
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        """Nothing."""


def test_figures_are_pushed_and_a_gateway_that_is_away_ends_no_job(
    picture_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        done = run(picture_bundle, pictures, tmp_path / "out", "--push-gateway", address)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    (body,) = Gateway.pushed.values()
    assert list(Gateway.pushed) == ["/metrics/job/modelyard-score"]
    assert 'modelyard_score_rows_total{model="fake/1"} 12.0' in body
    assert 'modelyard_score_errors_total{cause="BadInput",model="fake/1"} 1.0' in body
    away = run(picture_bundle, pictures, tmp_path / "other", "--push-gateway", address)
    assert away.returncode == 0
    assert f"--push-gateway {address}: " in away.stderr


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (%d, %d))
import modelyard
modelyard.main()
"""


@pytest.mark.parametrize(
    ("form", "num_bytes"),
    [("parquet", 100), ("parquet", 2000), ("parquet", 30_000), ("csv", 30_000), ("jsonl", 30_000)],
)
def test_a_full_disk_is_one_line_and_the_job_goes_on_once_there_is_room(
    series_bundle: Path, tmp_path: Path, form: Any, num_bytes: int
) -> None:
    """A process that may write no longer file stands for a full disk."""
    path = write_series(tmp_path / "in.parquet", 3000)
    arguments = [series_bundle, path, tmp_path / "out", "--rows-per-shard", 1500, "--format", form]
    full = command(*arguments)
    full[1:3] = ["-c", FULL % (num_bytes, num_bytes)]
    done = subprocess.run(full, capture_output=True, text=True, check=False, env=environment(), timeout=PATIENCE_S)
    assert done.returncode == 1, done
    assert re.fullmatch(r"modelyard score: \S+: cannot be written: [^\n]*File too large[^\n]*\n", done.stderr)
    assert parts(tmp_path / "out") == []
    assert not (tmp_path / "out/_unfinished").exists()
    for name in ("out", "new"):
        score(Settings(series_bundle, str(path), str(tmp_path / name), format=form, rows_per_shard=1500))
    assert content(tmp_path / "out") == content(tmp_path / "new")


def _as_others(arguments: list[str]) -> list[str]:
    """Root may read and write anything, unless it is told not to."""
    if os.geteuid():
        return arguments
    if not shutil.which("setpriv"):
        pytest.skip("root may do anything here")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *arguments]


def test_no_permission_says_where(picture_bundle: Path, tmp_path: Path) -> None:
    def attempt(given: Path, output: Path) -> "subprocess.CompletedProcess[str]":
        arguments = _as_others(command(picture_bundle, given, output))
        return subprocess.run(
            arguments, capture_output=True, text=True, check=False, env=environment(), timeout=PATIENCE_S
        )

    pictures = write_pictures(tmp_path / "in", 3)
    (tmp_path / "shut").mkdir(mode=0o555)
    refused = attempt(pictures, tmp_path / "shut/out")
    assert refused.returncode == 1, refused.stderr
    assert refused.stderr.endswith("shut/out: nothing can be written there: Permission denied\n")
    (pictures / "00001.png").chmod(0)
    done = attempt(pictures, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    errors = [row["error"] for row in rows(tmp_path / "out")]
    assert [bool(one) for one in errors] == [False, True, False]
    assert "00001.png: cannot be read: " in errors[1]
    (pictures / "locked").mkdir(mode=0o000)
    unlisted = attempt(pictures, tmp_path / "other")
    assert (unlisted.returncode, unlisted.stderr.count("in/locked: Permission denied")) == (1, 1)


def test_the_summary_and_the_job_are_documents_anybody_can_read(
    picture_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    assert run(picture_bundle, pictures, tmp_path / "out").returncode == 0
    assert summary(tmp_path / "out")["errors"] == {"BadInput": 1}
    job = json.loads((tmp_path / "out/_job.json").read_bytes())
    assert job["input"] == str(pictures)
    assert job["versions"]["pyarrow"]
