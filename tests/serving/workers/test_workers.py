"""`--workers 2` as real processes: one port, one health, one end."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from serving.security.keys import make_key
from tests.builders import png
from tests.serving.running import PATIENCE_S, Server, run_to_the_end, running
from tests.serving.wire import predictions_of

CLASSIFY = "/v1/classify"
COUNTED = re.compile(r'^modelyard_requests_total{code="200",route="/v1/classify"} (\d+)', re.MULTILINE)


class Crew:
    """The workers of a server."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def ids(self) -> list[int]:
        """Process ids of the workers, as the system lists the supervisor's children."""
        supervisor = self.server.process.pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii")
        return sorted(map(int, children.split()))

    def folder(self) -> Path:
        """What they share."""
        environment = Path(f"/proc/{self.ids()[0]}/environ").read_bytes().split(b"\0")
        found = next(one for one in environment if one.startswith(b"PROMETHEUS_MULTIPROC_DIR="))
        return Path(found.partition(b"=")[2].decode()).parent

    def fresh(self, path: str) -> httpx.Response:
        """An answer over a new connection, which any of the workers may get."""
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            return client.get(f"{self.server.url}{path}")

    def ask(self, times: int) -> None:
        """Questions, each over a connection of its own."""
        for _ in range(times):
            with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
                assert len(predictions_of(client.post(f"{self.server.url}{CLASSIFY}", content=png()))) == 1

    def num_counted(self) -> int:
        """How many of them the figures tell of, whichever worker is asked."""
        found = COUNTED.findall(self.fresh("/metrics").text)
        return int(found[0]) if found else 0


@pytest.fixture
def crew(repository: Path, tmp_path: Path) -> Iterator[Crew]:
    with running(repository, tmp_path, "--workers=2") as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield Crew(server)


def test_workers_share_the_port_the_figures_and_one_announcement(crew: Crew) -> None:
    assert len(crew.ids()) == 2
    crew.server.wait_until(lambda: "curl" in crew.server.stdout(), "the announcement")
    crew.ask(40)
    crew.server.wait_until(lambda: crew.num_counted() == 40, "all requests to be counted")
    assert [crew.num_counted() for _ in range(6)] == [40] * 6
    counted = crew.folder() / "metrics"
    busy = [pid for pid in crew.ids() if any((counted / f"counter_{pid}.db").read_bytes()[:4])]
    assert busy == crew.ids()
    assert crew.server.stdout().count("curl ") == 1
    assert crew.server.url in crew.server.stdout()


def test_a_worker_that_is_killed_is_missed_at_once_and_comes_back(crew: Crew) -> None:
    crew.ask(10)
    crew.server.wait_until(lambda: crew.num_counted() == 10, "all requests to be counted")
    killed, other = crew.ids()
    os.kill(killed, signal.SIGSTOP)  # so that its death is not over before we look
    os.kill(killed, signal.SIGKILL)
    wrong, told = [], set()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        alive = crew.ids()
        try:
            answer = crew.fresh("/v2/health/ready")
        except httpx.TransportError:
            continue  # it was queued for the one that died
        if answer.status_code == 200 and (killed in alive or len(alive) < 2):
            wrong.append(answer.text)
        if answer.status_code == 200 and killed not in alive:
            break
        told.add(answer.json()["error"])
        assert crew.fresh("/v2/health/live").status_code == 200
    else:
        pytest.fail(f"it did not come back: {crew.server.stderr()}")
    assert not wrong
    assert any("it does not run" in reason for reason in told), told
    assert other in crew.ids()
    assert "SIGKILL" in crew.server.stderr()
    crew.ask(10)
    crew.server.wait_until(lambda: crew.num_counted() == 20, "what the dead one counted to count still")


def test_a_worker_that_stands_still_makes_the_service_not_ready(crew: Crew) -> None:
    stopped, _ = crew.ids()
    os.kill(stopped, signal.SIGSTOP)
    try:
        crew.server.wait_until(lambda: "it hangs" in _told_by_the_other(crew), "the silence to be noticed")
    finally:
        os.kill(stopped, signal.SIGCONT)
    crew.server.wait_until(lambda: crew.fresh("/v2/health/ready").status_code == 200, "it to be heard again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_workers_under_load_and_leaves_nothing_behind(
    repository: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with running(repository, tmp_path, "--workers=2") as server:
        server.wait_for_status("/v2/health/ready", 200)
        crew = Crew(server)
        folder, ids = crew.folder(), crew.ids()
        uploads = [_begin(server) for _ in range(8)]
        server.process.send_signal(number)
        server.wait_until(lambda: server.stderr().count("draining") == 2, "both to begin to end")
        for connection, rest in uploads:
            with connection:
                connection.sendall(rest)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(PATIENCE_S) == 0
        assert not folder.exists()
        assert not any(Path(f"/proc/{pid}").exists() for pid in ids)


def test_changes_are_made_by_all_workers_before_they_are_answered_and_by_one_that_comes_later(
    repository: Path, tmp_path: Path
) -> None:
    admin = make_key("root")
    with running(repository, tmp_path, "--workers=2", environment={"MODELYARD_ADMIN_KEYS": admin.line}) as server:
        server.wait_for_status("/v2/health/ready", 200)
        crew, key = Crew(server), {"x-api-key": admin.key}
        unloaded = server.client.post("/v2/repository/models/fake/unload", headers=key)
        assert unloaded.status_code == 200, unloaded.text
        assert {crew.fresh("/v2/models/fake/ready").status_code for _ in range(12)} <= {404, 503}
        killed = crew.ids()[0]
        os.kill(killed, signal.SIGKILL)
        server.wait_until(lambda: killed not in crew.ids() and len(crew.ids()) == 2, "the place to be given anew")
        loaded = server.client.post("/v2/repository/models/fake/load", headers=key)  # waits for the new worker too
        assert loaded.status_code == 200, loaded.text
        assert {crew.fresh("/v2/models/fake/ready").status_code for _ in range(12)} == {200}
        index = server.client.post("/v2/repository/index").json()
        assert [(one["name"], one["state"]) for one in index] == [("fake", "READY")]


def test_grpc_is_shared_by_the_workers_too(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path, "--workers=2", "--grpc-port=0") as server:
        server.wait_for_status("/v2/health/ready", 200)
        ports = set(re.findall(r"gRPC listens on [\d.]+:(\d+)", server.stderr()))
        assert len(ports) == 1
        for _ in range(8):
            with grpc.insecure_channel(f"127.0.0.1:{ports.copy().pop()}") as channel:
                grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)


def test_workers_whose_supervisor_is_killed_end_too(repository: Path, tmp_path: Path) -> None:
    server = Server(repository, tmp_path, "--workers=2")
    try:
        server.wait_for_status("/v2/health/ready", 200)
        crew = Crew(server)
        ids, folder = crew.ids(), crew.folder()
        server.process.kill()
        server.process.wait()
        deadline = time.monotonic() + PATIENCE_S
        while any(_runs(pid) for pid in ids):
            assert time.monotonic() < deadline, server.stderr()
            time.sleep(0.05)
        assert server.stderr().count("the supervisor has gone") == 2
    finally:
        server.stop()
    subprocess.run(["rm", "-r", str(folder)], check=True)


def test_a_worker_that_drains_too_long_is_killed_and_the_exit_code_says_so(repository: Path, tmp_path: Path) -> None:
    server = Server(repository, tmp_path, "--workers=2", "--drain-s=1")
    try:
        server.wait_for_status("/v2/health/ready", 200)
        os.kill(Crew(server).ids()[0], signal.SIGSTOP)
        server.terminate()
        assert server.process.wait(PATIENCE_S) == 1
        assert "not finished in time, killed" in server.stderr()
    finally:
        server.stop()


def test_a_start_that_cannot_succeed_ends_instead_of_being_tried_again(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_to_the_end(str(repository), "--workers=2", f"--port={taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "in use" in done.stderr


def test_a_port_that_another_service_shares_with_its_workers_is_not_shared_with_strangers(
    crew: Crew, repository: Path
) -> None:
    for workers in ("1", "2"):
        done = run_to_the_end(str(repository), f"--workers={workers}", f"--port={crew.server.address[1]}")
        assert done.returncode == 1
        assert "in use" in done.stderr


def test_requests_while_a_worker_dies_and_comes_back_are_answered_by_the_other(crew: Crew) -> None:
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
                    statuses.append(client.post(f"{crew.server.url}{CLASSIFY}", content=png()).status_code)
            except httpx.TransportError:
                pass  # the dead one had it

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        killed = crew.ids()[1]
        os.kill(killed, signal.SIGKILL)
        crew.server.wait_until(
            lambda: killed not in crew.ids() and crew.fresh("/v2/health/ready").status_code == 200, "it to come back"
        )
    finally:
        stop.set()
        asking.join()
    assert statuses
    assert set(statuses) == {200}  # it listens only once it is ready


def _begin(server: Server) -> tuple[socket.socket, bytes]:
    """A request of which the service has the first half, and the second."""
    connection = socket.create_connection(server.address, timeout=PATIENCE_S)
    raw = png()
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(raw)}\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    return connection, raw


def _told_by_the_other(crew: Crew) -> str:
    """Why the service is not ready, by the worker that moves; the other's listener takes connections in silence."""
    try:
        with httpx.Client(trust_env=False, timeout=1) as client:
            return client.get(f"{crew.server.url}/v2/health/ready").text
    except httpx.TransportError:
        return ""


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
