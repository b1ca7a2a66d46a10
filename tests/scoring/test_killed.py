"""Killed at any moment and started again, until it is done: the bytes of a job that nobody disturbed."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from scoring.job import Settings, score
from tests.scoring.running import (
    PATIENCE_S,
    command,
    content,
    environment,
    parts,
    rows,
    run,
    write_pictures,
    write_series,
)

MANY = 9_000
PER_SHARD = 450
MAX_KILLS = 60


def test_killed_at_random_moments(series_bundle: Path, tmp_path: Path) -> None:
    path = write_series(tmp_path / "in.parquet", MANY, bad=range(0, MANY, 11), row_group=3000)
    score(Settings(series_bundle, str(path), str(tmp_path / "calm"), rows_per_shard=PER_SHARD))
    rng = random.Random("killed")  # noqa: S311 - moments, not secrets
    output = tmp_path / "out"
    arguments = command(series_bundle, path, output, "--rows-per-shard", PER_SHARD)
    kills = 0
    for _ in range(MAX_KILLS):
        before = {part.name: part.stat().st_ino for part in parts(output)} if output.exists() else {}
        finished = {path.stem for path in (output / "_done").glob("*.json")}
        with subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as job:
            seen = len(list((output / "_done").glob("*.json")))
            while job.poll() is None and len(list((output / "_done").glob("*.json"))) == seen:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.2))
            job.kill()
            code = job.wait(PATIENCE_S)
        now = {part.name: part.stat().st_ino for part in parts(output)}
        assert {name: now[name] for name, _ in before.items() if name[:16] in finished} == {
            name: inode for name, inode in before.items() if name[:16] in finished
        }  # what was finished was not written again
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    if code != 0:
        assert run(*arguments[4:]).returncode == 0
    assert kills >= 2
    assert content(output) == content(tmp_path / "calm")
    assert [int(row["row"]) for row in rows(output)] == list(range(MANY))


PUBLISH = """
import os, signal, sys
import scoring.parts, scoring.store
moment, when = int(sys.argv.pop(1)), sys.argv.pop(1)
publish, count = scoring.store.publish, 0

def killed(*arguments, **options):
    global count
    count += 1
    if count == moment and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    publish(*arguments, **options)
    if count == moment:
        os.kill(os.getpid(), signal.SIGKILL)

scoring.store.publish = scoring.parts.publish = killed
import modelyard
modelyard.main()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_every_file_that_gets_its_name(mask_bundle: Path, tmp_path: Path, when: str) -> None:
    """The job's document, pictures of answers, parts, their documents, the summary: before each and after it."""
    pictures = write_pictures(tmp_path / "in", 4)
    arguments = (mask_bundle, pictures, tmp_path / "out", "--rows-per-shard", 3, "--pictures", "files")
    asked = Settings(mask_bundle, str(pictures), str(tmp_path / "calm"), pictures="files", rows_per_shard=3)
    score(asked)
    moment = 0
    while True:
        moment += 1
        output = tmp_path / f"out-{moment}"
        full = command(*arguments[:2], output, *arguments[3:], "--workers", 1)
        full[1:3] = ["-c", PUBLISH, str(moment), when]
        done = subprocess.run(full, capture_output=True, text=True, check=False, env=environment(), timeout=PATIENCE_S)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        score(Settings(mask_bundle, str(pictures), str(output), pictures="files", rows_per_shard=3))
        assert content(output) == content(tmp_path / "calm"), moment
    assert moment == 1 + len(content(tmp_path / "calm")) + 1  # every file of the output, and the summary
    assert re.search("4 rows in 2 parts", done.stderr)
