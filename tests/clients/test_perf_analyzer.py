"""perf_analyzer, the neutral load tool, unmodified: its binary comes in an old wheel of tritonclient."""

import csv
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import ROOT, Running

BINARY = Path(os.environ.get("PERF_ANALYZER", str(ROOT / "build/clients/perf/perf_analyzer")))
LIBRARIES = BINARY.parent


@pytest.fixture
def analyze(server: Running, tmp_path: Path) -> "Analyze":
    if not BINARY.is_file():
        pytest.skip(f"no perf_analyzer at {BINARY}; `make test-clients` puts it there where its wheel can be had")
    environment = os.environ | {"LD_LIBRARY_PATH": str(LIBRARIES)}
    tried = subprocess.run([BINARY, "--version"], env=environment, capture_output=True, text=True, check=False)
    if "error while loading shared libraries" in tried.stderr:
        pytest.skip(f"perf_analyzer cannot start here: {tried.stderr.strip()}")
    return Analyze(server, tmp_path, environment)


class Analyze:
    """The tool against a server."""

    def __init__(self, server: Running, folder: Path, environment: dict[str, str]) -> None:
        self._server, self._folder, self._environment = server, folder, environment

    def __call__(self, model: str, *flags: str, address: str = "") -> dict[str, str]:
        """One measurement of two short windows; the line of its report."""
        report = self._folder / "report.csv"
        command = [BINARY, "-m", model, "-u", address or self._server.http, "-f", report]
        command += ["--measurement-mode", "count_windows", "--measurement-request-count", "50"]
        command += ["--stability-percentage", "999", "--max-trials", "3", *flags]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=120, cwd=self._folder
        )
        self.told = done.stdout + done.stderr
        assert done.returncode == 0, self.told
        with report.open(encoding="utf-8") as lines:
            (line,) = csv.DictReader(lines)
        return line


@pytest.mark.parametrize("model", ["pictures", "beats"])
@pytest.mark.parametrize("form", ["binary", "json"])
def test_random_tensors(analyze: Analyze, model: str, form: str) -> None:
    """The tool's own payload is random bits, among them what is no number."""
    line = analyze(model, "--concurrency-range", "4", "--input-tensor-format", form)
    assert float(line["Inferences/Second"]) > 0


def test_batches_and_the_servers_own_statistics(analyze: Analyze) -> None:
    line = analyze("beats", "-b", "4", "--concurrency-range", "2", "--input-data", "zero")
    assert float(line["Inferences/Second"]) > 0
    told = re.search(r"Inference count: (\d+)", analyze.told)
    assert told, analyze.told
    assert int(told[1]) > 0
    assert float(line["Server Compute Infer"]) > 0


def test_text_models_take_token_ids_of_a_shape(analyze: Analyze) -> None:
    shapes = ("--shape", "input_ids:3", "--shape", "attention_mask:3")
    assert float(analyze("embedder", *shapes, "--input-data", "zero")["Inferences/Second"]) > 0


def test_over_grpc(analyze: Analyze, grpc_address: str) -> None:
    line = analyze("beats", "-i", "grpc", "--concurrency-range", "4", "--input-data", "zero", address=grpc_address)
    assert float(line["Inferences/Second"]) > 0
