"""The port for those who watch: open to them whatever the main port asks for, and until the process ends."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from serving.http.metrics_port import MAX_CONNECTIONS
from serving.security.keys import make_key
from tests.builders import png
from tests.serving.raw import GOOD
from tests.serving.running import PATIENCE_S, ROOT, Server, environment_with, free_port, run_to_the_end, running

LIVE, READY, METRICS = "/v2/health/live", "/v2/health/ready", "/metrics"
TOLD = re.compile(r"metrics and health on (http://127\.0\.0\.1:\d+)")
ON_A_PORT = "--metrics-port=0"


def watcher(server: Server) -> httpx.Client:
    """A client of the port that the log tells of."""
    server.wait_until(lambda: bool(TOLD.search(server.stderr())), "the port to be told")
    return httpx.Client(base_url=TOLD.findall(server.stderr())[0], timeout=PATIENCE_S, trust_env=False)


def wait_for(server: Server, client: httpx.Client, path: str, status: int) -> httpx.Response:
    answers = []

    def holds() -> bool:
        answers[:] = [client.get(path)]
        return answers[0].status_code == status

    server.wait_until(holds, f"{path} to answer {status}")
    return answers[0]


def address_of(client: httpx.Client) -> tuple[str, int]:
    return client.base_url.host, client.base_url.port or 0


def test_health_and_figures_are_answered_there_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path, ON_A_PORT) as server, watcher(server) as client:
        assert wait_for(server, client, READY, 200).json() == {"live": True, "ready": True}
        assert client.get(LIVE).json() == {"live": True, "ready": True}
        server.client.post("/v1/classify", content=png()).raise_for_status()
        figures = client.get(METRICS)
        assert 'modelyard_requests_total{code="200",route="/v1/classify"} 1.0' in figures.text
        assert figures.headers["content-type"].startswith("text/plain")
        openmetrics = client.get(METRICS, headers={"Accept": "application/openmetrics-text"})
        assert "openmetrics" in openmetrics.headers["content-type"]
        for path in ("/", "/v1/models", "/v1/classify", "/docs", "/v2", "/metrics/", "//metrics", "/v2/health/live/x"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
            assert METRICS in answer.json()["error"]
        posted = client.post(READY, content=b"{}")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET")
        assert posted.json()["code"] == "method_not_allowed"
        assert server.client.get(METRICS).status_code == 200


def test_what_is_asked_there_is_not_counted_among_the_requests(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path, ON_A_PORT) as server, watcher(server) as client:
        client.get(METRICS)
        assert f'route="{METRICS}"' not in client.get(METRICS).text


def test_it_asks_for_neither_key_nor_certificate_where_the_main_port_asks_for_both(
    repository: Path, tmp_path: Path
) -> None:
    trustme = pytest.importorskip("trustme", reason="it belongs to the dev extra")
    authority, pem, ca = trustme.CA(), tmp_path / "all.pem", tmp_path / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(ca))
    known = httpx.create_ssl_context(verify=False, trust_env=False)
    authority.configure_trust(known)
    authority.issue_cert("client@example.org").configure_cert(known)
    tls = (f"--tls-cert={pem}", f"--tls-key={pem}", f"--tls-client-ca={ca}")
    keys = (f"--api-keys={make_key('a').line}", "--metrics-need-key")
    with running(repository, tmp_path, ON_A_PORT, *tls, *keys, verify=known) as server, watcher(server) as client:
        wait_for(server, client, READY, 200)
        assert "modelyard_model_ready" in client.get(METRICS).text
        assert client.get("/v1/models").status_code == 404
        assert server.client.get(METRICS).status_code == 401
        with pytest.raises(httpx.TransportError), httpx.Client(verify=False, trust_env=False) as stranger:  # noqa: S501
            stranger.get(server.url + LIVE)


def test_any_worker_answers_for_all_there(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path, ON_A_PORT, "--workers=2") as server, watcher(server) as client:
        wait_for(server, client, READY, 200)
        for _ in range(20):
            server.client.post("/v1/classify", content=png(), headers={"Connection": "close"}).raise_for_status()
        time.sleep(0.3)  # two pushes of the figures
        for _ in range(8):  # each time whichever worker gets the connection
            figures = client.get(METRICS, headers={"Connection": "close"}).text
            assert 'modelyard_requests_total{code="200",route="/v1/classify"} 20.0' in figures
            assert client.get(READY, headers={"Connection": "close"}).status_code == 200
        assert server.stderr().count("metrics and health on") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_while_the_main_port_drains_it_says_not_ready_and_still_shows_figures(
    repository: Path, tmp_path: Path, workers: int
) -> None:
    with running(repository, tmp_path, ON_A_PORT, f"--workers={workers}") as server, watcher(server) as client:
        wait_for(server, client, READY, 200)
        body = png()
        head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        uploads = [socket.create_connection(server.address, timeout=PATIENCE_S) for _ in range(16)]
        for upload in uploads:  # so many that each worker has one
            upload.sendall(head + body[:10])
        time.sleep(0.2)  # they have been accepted
        server.terminate()
        closing = {"Connection": "close"}
        server.wait_until(lambda: server.stderr().count("no longer listening") == workers, "the main port to close")
        for _ in range(10):
            answer = client.get(READY, headers=closing)
            assert (answer.status_code, answer.json()["ready"], answer.json()["live"]) == (503, False, True)
            assert "drains" in answer.json()["error"]
            assert "modelyard_requests_total" in client.get(METRICS, headers=closing).text
            time.sleep(0.05)
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url + LIVE, trust_env=False)
        for upload in uploads:
            upload.sendall(body[10:])
            assert upload.recv(65536).startswith(b"HTTP/1.1 200 ")
            upload.close()
        server.process.wait(PATIENCE_S)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{client.base_url}{LIVE}", trust_env=False)


def test_a_main_port_without_a_place_left_takes_no_probe_away(repository: Path, tmp_path: Path) -> None:
    flags = (ON_A_PORT, "--max-connections=8", "--max-header-s=30")
    with running(repository, tmp_path, *flags) as server, watcher(server) as client, ExitStack() as held:
        wait_for(server, client, READY, 200)
        server.client.close()
        for _ in range(8):
            half = held.enter_context(socket.create_connection(server.address))
            half.sendall(GOOD[:10])
        time.sleep(0.2)
        assert httpx.get(server.url + LIVE, trust_env=False).json()["code"] == "overloaded"
        assert client.get(LIVE).status_code == 200
        assert "modelyard_" in client.get(METRICS).text


def test_it_gives_up_its_longest_idle_connection_for_a_new_one(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path, ON_A_PORT) as server, watcher(server) as client, ExitStack() as held:
        address = address_of(client)
        for _ in range(MAX_CONNECTIONS + 8):
            held.enter_context(socket.create_connection(address))
        assert client.get(LIVE).status_code == 200
        assert server.client.get(LIVE).status_code == 200


def test_it_ends_heads_that_are_too_large(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path, ON_A_PORT) as server, watcher(server) as client:
        assert client.get(LIVE, headers={"X-Large": "x" * 20_000}).status_code == 431


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_told_before_anything_starts(repository: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_to_the_end(str(repository), "--port=0", f"--metrics-port={port}", f"--workers={workers}")
    assert done.returncode == 1
    assert f"Address already in use (while listening on http://127.0.0.1:{port})" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_port_for_two_purposes_is_refused(repository: Path) -> None:
    port = free_port()
    done = run_to_the_end(str(repository), f"--port={port}", f"--metrics-port={port}")
    assert (done.returncode, f"--port and --metrics-port are both {port}" in done.stderr) == (1, True)


def test_the_images_health_check_asks_there(repository: Path, tmp_path: Path) -> None:
    check = [sys.executable, str(ROOT / "docker/healthcheck.py")]
    with running(repository, tmp_path, ON_A_PORT) as server, watcher(server) as client:
        given = {"MODELYARD_PORT": "1", "MODELYARD_METRICS_PORT": str(address_of(client)[1])}
        assert subprocess.run(check, env=environment_with(given), check=False).returncode == 0
    done = subprocess.run(check, env=os.environ | given, capture_output=True, text=True, check=False)
    assert (done.returncode, f"no answer on port {given['MODELYARD_METRICS_PORT']}" in done.stderr) == (1, True)
