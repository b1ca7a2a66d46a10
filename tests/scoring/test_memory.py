"""Memory: what a job holds does not grow with its input."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("loadtests", reason="inputs are made by the load tests, which no wheel has")

from loadtests.score_memory import noise, write
from tests.scoring.running import PATIENCE_S, environment

MEASURED = """
import pathlib, re, sys
import modelyard
modelyard.main()
status = pathlib.Path("/proc/self/status").read_text()
print(re.findall(r"VmHWM:\\s+(\\d+) kB", status)[0])
"""
MAX_GROWTH_BYTES = 90e6
"""A window of chunks (two workers, three each, 8 MB of raw inputs and as much prepared), read ahead and fragmented."""


def peak_bytes(bundle: Path, folder: Path, num_bytes: int) -> int:
    given = folder / f"{num_bytes}.parquet"
    write(given, noise(num_bytes))
    arguments = [str(bundle), str(given), str(folder / f"out-{num_bytes}"), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "score", *arguments],
        capture_output=True, text=True, check=True, timeout=PATIENCE_S, env=environment(),
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
def test_an_input_three_times_as_large_takes_no_more(picture_bundle: Path, tmp_path: Path) -> None:
    """Pages of Parquet are held as a whole: here they are of the same size in both."""
    small, large = (peak_bytes(picture_bundle, tmp_path, int(size)) for size in (90e6, 270e6))
    assert large - small < MAX_GROWTH_BYTES, f"{small / 1e6:.0f} MB, then {large / 1e6:.0f} MB"
