"""Processes that are killed, stopped, starved or hung up on, and a log that nobody reads."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.builders import png
from tests.drills.asking import CLASSIFY, asking, figure, metrics_url, once, within
from tests.drills.conftest import Seen
from tests.drills.machine import needs
from tests.serving.running import ADDRESS, ROOT, Server, environment_with, running
from tests.serving.workers.test_workers import Crew

SOON_S = 30.0


def ready(server: Server) -> int:
    try:
        return once(server, "/v2/health/ready", timeout_s=2.0).status_code
    except httpx.TransportError:
        return 0


def begin(server: Server) -> tuple[socket.socket, bytes]:
    """A prediction whose head has been read, and what is left to send of it."""
    connection, raw = socket.create_connection(server.address, timeout=SOON_S), png()
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(raw)}\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    return connection, raw


@pytest.mark.drill
def test_all_workers_killed_again_and_again_come_back_later_each_time(models: Path, tmp_path: Path, seen: Seen) -> None:
    with running(models, tmp_path, "--workers=2") as server:
        server.wait_for_status("/v2/health/ready", 200)
        crew, gaps = Crew(server), []
        for _ in range(3):
            for pid in crew.ids():
                os.kill(pid, signal.SIGKILL)
            gaps.append(within(SOON_S, lambda: ready(server) == 200 and len(crew.ids()) == 2, "all to be back"))
        told = server.stderr()
        assert told.count("signal SIGKILL; it is started again in 0 s") == 2
        assert told.count("signal SIGKILL; it is started again in 0.5 s") == 2
        assert told.count("signal SIGKILL; it is started again in 1 s") == 2
        seen(f"ready again after {', '.join(f'{gap:.1f} s' for gap in gaps)}")


@pytest.mark.drill
def test_a_worker_that_stays_stopped_is_killed_and_replaced(models: Path, tmp_path: Path, seen: Seen) -> None:
    with running(models, tmp_path, "--workers=2") as server:
        server.wait_for_status("/v2/health/ready", 200)
        crew = Crew(server)
        stopped = crew.ids()[0]
        os.kill(stopped, signal.SIGSTOP)
        took = within(60, lambda: stopped not in crew.ids() and ready(server) == 200, "it to be replaced")
        assert "has said nothing for 30 s: killed" in server.stderr()
        seen(f"replaced and ready after {took:.0f} s")


@pytest.mark.drill
def test_a_machine_that_was_suspended_goes_on_where_it_was(models: Path, tmp_path: Path, seen: Seen) -> None:
    flags = ("--golden-every-s=0.5", "--golden-limit-s=2")
    with running(models, tmp_path, *flags) as server:
        server.wait_for_status("/v2/health/ready", 200)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(12)
        server.process.send_signal(signal.SIGCONT)
        took = within(SOON_S, lambda: ready(server) == 200, "it to be ready")
        time.sleep(2)
        assert figure(server, "modelyard_golden_failures_total") == 0
        assert once(server).status_code == 200
        seen(f"stopped for 12 s, ready {took:.1f} s after, no golden failure")


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.drill), signal.SIGHUP])
def test_a_second_signal_and_a_hang_up_lose_no_request(
    models: Path, tmp_path: Path, number: signal.Signals, seen: Seen
) -> None:
    with running(models, tmp_path) as server:
        server.wait_for_status("/v2/health/ready", 200)
        uploads = [begin(server) for _ in range(4)]
        for _ in range(2):
            server.process.send_signal(number)
            server.wait_until(lambda: "draining" in server.stderr(), "the end to begin")
        for connection, rest in uploads:
            with connection:
                connection.sendall(rest)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(SOON_S) == 0
        seen(f"{number.name} twice: 4 of 4 requests answered, exit code 0")


@pytest.mark.drill
def test_with_workers_a_hang_up_drains_too(models: Path, tmp_path: Path, seen: Seen) -> None:
    with running(models, tmp_path, "--workers=2") as server:
        server.wait_for_status("/v2/health/ready", 200)
        folder, upload = Crew(server).folder(), begin(server)
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: server.stderr().count("draining") == 2, "both to begin to end")
        server.process.send_signal(signal.SIGTERM)
        with upload[0] as connection:
            connection.sendall(upload[1])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(SOON_S) == 0
        assert not folder.exists()
        seen("SIGHUP, then SIGTERM: the request is answered, exit code 0")


@pytest.mark.parametrize("fault", ["nobody reads", pytest.param("closed", marks=pytest.mark.drill)])
def test_a_log_that_nobody_reads_stops_no_answer(models: Path, fault: str, seen: Seen) -> None:
    num, pipes = 400, [os.pipe(), os.pipe()]
    (_, out_end), (log, log_end) = pipes
    fill(out_end)  # before the service says its first word
    command = [sys.executable, "-m", "serving", str(models), "--port=0", "--log-level=debug"]
    process = subprocess.Popen(command, stdout=out_end, stderr=log_end, cwd=ROOT, env=environment_with({}))
    try:
        with httpx.Client(base_url=announced(log), trust_env=False, timeout=5) as client:
            within(SOON_S, lambda: _status(client) == 200, "it to become ready")
            fill(log_end)
            if fault == "closed":
                os.close(pipes.pop()[0])
            headers = {"x-request-id": "i" * 128}  # a line of 250 bytes each
            statuses = {client.post(CLASSIFY, content=png(), headers=headers).status_code for _ in range(num)}
            assert statuses == {200}
            text = client.get("/metrics").text
            lost = float(text.partition("\nmodelyard_log_lines_lost_total ")[2].partition("\n")[0])
            assert (lost > num / 2) == (fault == "closed")  # what nobody reads waits; for whom has gone nothing does
        process.terminate()
        assert process.wait(SOON_S) == 0
        seen(f"{fault}: {num} of {num} answered 200, {lost:.0f} lines lost, exit code 0 after SIGTERM")
    finally:
        process.kill()
        process.wait()
        for end in {out_end, log_end, *(read for read, _ in pipes)}:
            os.close(end)


def fill(end: int) -> None:
    """Write until the pipe takes no more."""
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(end, b"x" * 1024)
    os.set_blocking(end, True)


def announced(log: int) -> str:
    """The address, by the first lines of a log."""
    said = b""
    while not (found := ADDRESS.search(said.decode(errors="replace"))):
        more = os.read(log, 65536)
        assert more, said
        said += more
    return found.group()


def _status(client: httpx.Client) -> int:
    try:
        return client.get("/v2/health/ready").status_code
    except httpx.TransportError:
        return 0


@pytest.mark.drill
def test_probes_are_answered_beside_busy_neighbours(models: Path, tmp_path: Path, seen: Seen) -> None:
    needs("taskset", "util-linux")
    core = min(os.sched_getaffinity(0))
    flags = ("--metrics-port=0",)
    with running(models, tmp_path, *flags, prefix=("taskset", "-c", str(core))) as server:
        server.wait_for_status("/v2/health/ready", 200)
        url = metrics_url(server)
        spin = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
        neighbours = [subprocess.Popen(spin) for _ in range(6)]
        try:
            with asking(server) as asked, httpx.Client(base_url=url, trust_env=False, timeout=5) as probe:
                waits = []
                for _ in range(20):
                    start = time.monotonic()
                    assert probe.get("/v2/health/live").status_code == 200
                    waits.append(time.monotonic() - start)
                    time.sleep(0.2)
        finally:
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.wait()
        assert max(waits) < 1.0, waits  # a probe's timeoutSeconds, unless it says more
        assert asked.statuses.keys() == {200}
        assert figure(server, "modelyard_golden_failures_total") == 0
        seen(f"slowest probe {max(waits):.2f} s with a seventh of a core; predictions: {asked}")
