"""Whoever watches the service is away, slow, or comes by the hundred: the service does not wait for any of them."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.builders import png, write_fake_bundle
from tests.drills.asking import asking, figure, once
from tests.drills.conftest import Seen
from tests.drills.machine import cpu_s
from tests.serving.running import Server, running

SOON_S = 20.0
NUM_SCRAPES = 200
PNG = png()
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("watched")
    write_fake_bundle(folder / "models")
    with running(folder / "models", folder, "--max-read-s=2") as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


def test_what_was_counted_while_nobody_scraped_is_there_afterwards(server: Server, seen: Seen) -> None:
    before = figure(server, "modelyard_instances_total")
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for _ in range(500):
            assert client.post("/v1/classify", content=PNG).status_code == 200
    counted = figure(server, "modelyard_instances_total") - before
    assert counted == 500
    seen("500 answers while nobody scraped, 500 at the next scrape")


def test_hundreds_of_scrapes_at_once_keep_nobody_waiting(server: Server, seen: Seen) -> None:
    with asking(server) as asked, ExitStack() as opened:
        time.sleep(0.5)
        alone_s = asked.slowest_s
        start, used = time.monotonic(), cpu_s(server.process.pid)
        scrapers = [opened.enter_context(socket.create_connection(server.address, SOON_S)) for _ in range(NUM_SCRAPES)]
        for scraper in scrapers:
            scraper.sendall(SCRAPE)
        for scraper in scrapers:
            assert scraper.recv(100).startswith(b"HTTP/1.1 200 ")
        took, used = time.monotonic() - start, cpu_s(server.process.pid) - used
    assert asked.statuses.keys() == {200}
    assert took < SOON_S
    seen(
        f"{NUM_SCRAPES} scrapes in {took:.1f} s ({used:.1f} s of processor); predictions {asked}, {alone_s:.2f} s alone"
    )


def test_scrapers_that_do_not_read_are_cut_off_and_keep_nobody_waiting(server: Server, seen: Seen) -> None:
    with asking(server) as asked, ExitStack() as opened:
        slow = []
        for _ in range(20):
            scraper = opened.enter_context(socket.socket())
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            scraper.settimeout(SOON_S)
            scraper.connect(server.address)
            scraper.sendall(SCRAPE * 200)  # many answers: one alone fits into what the system keeps for it
            slow.append(scraper)
        server.wait_until(lambda: server.stderr().count("were not read for 2 s: cut off") == 20, "all to be cut off")
        assert figure(server, "modelyard_requests_total") > 0
    assert asked.statuses.keys() == {200}
    seen(f"20 cut off after 2 s; predictions {asked}")


@pytest.mark.parametrize("fault", [pytest.param("gone", marks=pytest.mark.drill), "silent"])
def test_a_collector_of_traces_that_is_not_there_costs_no_answer_and_no_time_at_the_end(
    models: Path, tmp_path: Path, fault: str, seen: Seen
) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="it belongs to the extra 'tracing'")
    with socket.create_server(("127.0.0.1", 0)) as collector:  # listens, and never answers
        port = collector.getsockname()[1]
        if fault == "gone":
            collector.close()
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "200"}
        server = Server(models, tmp_path, "--tracing=otlp", environment=environment)
        try:
            server.wait_for_status("/v2/health/ready", 200)
            with asking(server, pause_s=0.01) as asked:
                time.sleep(1.5)
            assert asked.statuses.keys() == {200}
            assert once(server, "/v2/health/ready").status_code == 200
            start = time.monotonic()
            server.terminate()
            code = server.process.wait(SOON_S)
            took = time.monotonic() - start
            assert code == 0
            assert took < 10
            seen(f"{fault}: {asked}; exit code 0 {took:.1f} s after SIGTERM")
        finally:
            server.stop()
