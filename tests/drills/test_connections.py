"""Clients that come by the thousand and never finish, and clients that vanish."""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.builders import png, write_fake_bundle
from tests.drills.asking import CLASSIFY, Asked, ask, figure, metrics_url, within
from tests.drills.conftest import Seen
from tests.drills.machine import allow_files, cpu_s
from tests.serving.running import ROOT, Server, running

SOON_S = 20.0


@contextmanager
def besieged(server: Server, number: int, folder: Path) -> Iterator[Path]:
    """So many slow clients, until the end; the file that tells how many are in."""
    told = folder / "loris.txt"
    command = [sys.executable, "-m", "tests.drills.loris", str(server.address[1]), str(number)]
    with told.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, cwd=ROOT)
    try:
        within(60, lambda: told.read_text().count("\n") >= 3, "the attack to begin")
        yield told
    finally:
        process.kill()
        process.wait()


def healthy(server: Server, seconds: float) -> Asked:
    """Clients that come anew for each question, one after another; who is refused comes again, as Retry-After says."""
    asked, end = Asked(), time.monotonic() + seconds
    while time.monotonic() < end:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=10.0) as client:
            ask(client, asked)
        time.sleep(0.05)
    return asked


def probed(url: str, number: int) -> list[float]:
    """Seconds that each of so many probes took, each over a connection of its own."""
    waits = []
    for _ in range(number):
        start = time.monotonic()
        for path in ("/v2/health/ready", "/metrics"):
            with httpx.Client(trust_env=False, timeout=10.0) as client:
                assert client.get(url + path).status_code == 200
        waits.append(time.monotonic() - start)
        time.sleep(0.1)
    return waits


@pytest.mark.parametrize(
    ("number", "limit"), [(300, 100), pytest.param(10_000, 4096, marks=pytest.mark.drill)], ids=["300", "10000"]
)
def test_slow_heads_by_the_thousand_leave_room_for_others(
    models: Path, tmp_path: Path, number: int, limit: int, seen: Seen
) -> None:
    allow_files(number + 1000)
    with running(models, tmp_path, f"--max-connections={limit}", "--metrics-port=0") as server:
        server.wait_for_status("/v2/health/ready", 200)
        url = metrics_url(server)
        with besieged(server, number, tmp_path) as told:
            begun, used = time.monotonic(), cpu_s(server.process.pid)
            waits = probed(url, 10)
            asked = healthy(server, 8 if number > 1000 else 3)
            used = (cpu_s(server.process.pid) - used) / (time.monotonic() - begun)
            in_now, num_cut = map(int, told.read_text().splitlines()[-2].split())
        assert max(waits) < 2.0, waits
        assert asked.statuses[200] > sum(asked.statuses.values()) / 2, asked
        took = within(SOON_S, lambda: set(healthy(server, 0.5).statuses) == {200}, "all to be answered again")
        assert figure(server, "modelyard_in_flight", url) == 0
        seen(
            f"{in_now} slow clients in, {num_cut} cut off and back; healthy clients meanwhile: {asked}; slowest probe "
            f"{max(waits):.2f} s; {used:.0%} of a core; all answered {took:.1f} s after the end"
        )


def vanish(connection: socket.socket) -> None:
    """Go without a word: the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that clients come to and vanish from."""
    folder = tmp_path_factory.mktemp("left")
    write_fake_bundle(folder / "models")
    with running(folder / "models", folder) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.mark.parametrize("when", ["in the middle of a body", "before the answer", "in the middle of an answer"])
def test_clients_that_vanish_leave_nothing_behind(left: Server, when: str, seen: Seen) -> None:
    raw = png()
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
    what = {
        "in the middle of a body": head + raw[:20],
        "before the answer": head + raw,
        "in the middle of an answer": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
    }[when]
    for _ in range(100):
        connection = socket.create_connection(left.address, timeout=SOON_S)
        connection.sendall(what)
        if when == "in the middle of an answer":
            connection.recv(10)
        vanish(connection)
    took = within(SOON_S, lambda: figure(left, "modelyard_in_flight") == 0, "nothing to be in flight")
    assert left.client.post(CLASSIFY, content=raw).status_code == 200
    assert "ERROR" not in left.stderr()
    seen(f"100 clients {when}: nothing in flight after {took:.1f} s, the next is answered, no error in the log")
