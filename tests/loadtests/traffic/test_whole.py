"""`python -m loadtests.traffic` as people run it: processes of Locust against a real server, and their exit codes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bundle.store import Bundle
from loadtests.traffic.thresholds import DEFAULT
from tests.loadtests.servers import answer, serving
from tests.loadtests.traffic.models import FAMILIES, write_models
from tests.serving.running import Server, free_port, running

ROOT = Path(__file__).parents[3]
BRIEF = ("--stretch", "0.2", "--rate", "40")
RIGHT = "calm: {all: {wrong: 0, failed: 0, unanswered: 0, unaccounted: 0, answered_share: 1}}"
LOCUST = ("-m", "locust", "-f", "loadtests/traffic/locustfile.py", "--headless", "--stop-timeout", "30")

COUNTER = "# TYPE modelyard_requests_total counter\n"
WORKERS = ("-m", "locust", "-f", "loadtests/traffic/locustfile.py", "--worker", "--processes", "2")
MASTER = ("--master", "--expect-workers", "2", "--expect-workers-max-wait", "60")

pytestmark = pytest.mark.whole


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )


def loadtest(folder: Path, thresholds: str | Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if isinstance(thresholds, str):
        path = folder / "thresholds.yaml"
        path.write_text(thresholds, encoding="utf-8")
        thresholds = path
    out = ("--out", str(folder / "out"), "--thresholds", str(thresholds))
    return run("-m", "loadtests.traffic", *out, "--shapes", "calm", *BRIEF, *arguments)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("traffic") / "models")


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    port = free_port()
    with running(models, tmp_path_factory.mktemp("server"), "--grpc-port", str(port)) as one:
        yield one, f"127.0.0.1:{port}"


def test_all_families_are_driven_and_all_counts_agree(models: Path, server: tuple[Server, str], tmp_path: Path) -> None:
    at = ("--host", server[0].url, "--grpc-host", server[1], "--models", str(models), "--families", FAMILIES)
    done = loadtest(tmp_path, RIGHT, *at, "--rate", "300")
    assert done.returncode == 0, done.stdout + done.stderr
    (calm,) = json.loads((tmp_path / "out/summary.json").read_text())["shapes"]
    assert calm["families"].keys() == set(FAMILIES.split(","))
    assert calm["outcomes"]["good"] == sum(calm["outcomes"].values()) > 30
    assert calm["accounts"] == []
    assert "# Load test: passed" in (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert {"locust_stats.csv", "locust_stats_history.csv", "report.html"} <= {
        one.name for one in (tmp_path / "out/calm").iterdir()
    }


def test_a_threshold_that_nothing_meets_is_not_met(models: Path, server: tuple[Server, str], tmp_path: Path) -> None:
    at = ("--host", server[0].url, "--models", str(models))
    done = loadtest(tmp_path, DEFAULT.with_name("impossible.yaml"), *at)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT MET: calm, all: p50_ms <= 0.001, got " in done.stdout
    assert "1 not met" in done.stdout
    assert "# Load test: NOT PASSED" in (tmp_path / "out/summary.md").read_text(encoding="utf-8")


def test_workers_of_a_distributed_run_add_up(models: Path, server: tuple[Server, str], tmp_path: Path) -> None:
    before = requests_of(server[0])
    ledger, rate = tmp_path / "ledger.json", ("--shape", "steady", "--rate", "80", "--stretch", "0.1")
    at = ("--host", server[0].url, "--bundles", str(models), "--families", "classify,text-embed=2")
    port, log = str(free_port()), tmp_path / "workers.txt"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, *WORKERS, "--master-port", port], cwd=ROOT, stdout=output, stderr=output
        ) as workers,
    ):
        done = run(*LOCUST, *at, *rate, "--master-bind-port", port, *MASTER, "--ledger", str(ledger))
        code = workers.wait(30)
    assert (done.returncode, code) == (0, 0), done.stdout + done.stderr + log.read_text()
    seen = json.loads(ledger.read_text())
    assert {name.split(" ")[0] for name in seen["series"]} == {"classify", "text-embed"}
    outcomes = [series["outcomes"] for series in seen["series"].values()]
    assert all(one.keys() == {"good"} for one in outcomes)
    assert sum(one["good"] for one in outcomes) == requests_of(server[0]) - before > 30


def requests_of(server: Server) -> int:
    lines = server.client.get("/metrics").text.splitlines()
    routes = ("/v1/classify", "/v1/text/embed")
    return sum(int(float(line.split()[-1])) for line in lines if any(f'route="{route}"' in line for route in routes)
               and line.startswith("modelyard_requests_total"))  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "http://127.0.0.1:9", "--models", "MODELS"), "http://127.0.0.1:9/metrics does not answer"),
        (("--host", "SERVER", "--models", "MODELS", "--families", "grpc"), "grpc: --grpc-host is not given"),
        (("--host", "SERVER", "--models", "tests"), "has no such bundle"),
        (("--host", "SERVER",), "--host needs --models"),
        (("--models", "MODELS", "--shapes", "spikes"), "'spikes' is no shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_says_why(
    arguments: tuple[str, ...], said: str, models: Path, server: tuple[Server, str], tmp_path: Path
) -> None:
    places = {"MODELS": str(models), "SERVER": server[0].url}
    given = [places.get(word, word) for word in arguments]
    done = loadtest(tmp_path, RIGHT, *given, "--locust", "ready-within=0")
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr


class Liar:
    """Says that it serves a bundle, and answers every input with one label."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        listed = {"name": "fake", "version": 1, "state": "ready", "task": manifest.task, "artefact": "fp32"}
        self.pages: dict[str, Any] = {"/v1/models": {"models": [listed | {"digest": manifest.digest}]}}
        best = {"label": "owl", "score": 0.5}
        self.answer = {"model": "fake", "version": 1, "predictions": [best | {"top_k": [best]}]}
        self.count = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path = head.split()[:2]
            if method == "GET":
                counted = f'modelyard_requests_total{{code="200",route="/v1/classify"}} {self.count}\n'
                page = (
                    (COUNTER + counted).encode()
                    if path == "/metrics"
                    else msgspec.json.encode(self.pages.get(path, {}))
                )
                writer.write(answer(page))
                continue
            await reader.readexactly(int(head.lower().split("content-length:")[1].split()[0]))
            self.count += 2  # each request twice: as if half of them had got lost on the way back
            writer.write(answer(msgspec.json.encode(self.answer)))


def test_wrong_answers_and_lost_requests_are_noticed(fake_bundle: Bundle, tmp_path: Path) -> None:
    with serving(Liar(fake_bundle)) as port:
        at = ("--host", f"http://127.0.0.1:{port}", "--models", str(fake_bundle.folder.parents[1]))
        done = loadtest(tmp_path, RIGHT, *at, "--families", "classify")
    assert done.returncode == 1, done.stdout + done.stderr
    (calm,) = json.loads((tmp_path / "out/summary.json").read_text())["shapes"]
    wrong = calm["outcomes"]["wrong"]
    assert calm["outcomes"] == {"wrong": wrong}
    assert calm["accounts"] == [f"/v1/classify 200: the server counted {2 * wrong}, here {wrong}"]
    assert any("fake" in text for text in calm["examples"])
    for demand in ("wrong", "unaccounted", "answered_share"):
        assert f"NOT MET: calm, all: {demand} " in done.stdout
