"""No descriptor is left: nobody can be let in until some are, and meanwhile nothing spins."""

import resource
import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.builders import png, write_fake_bundle
from tests.drills.asking import CLASSIFY, figure, within
from tests.drills.conftest import Seen
from tests.drills.machine import cpu_s, num_files
from tests.serving.running import Server, running

SPARE = 6
SOON_S = 20.0


def limit_files(server: Server, number: int) -> None:
    """So many may be open in the process from now on."""
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (number, _hard(server)))


def _hard(server: Server) -> int:
    return resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[1]


@pytest.mark.parametrize(
    "flags", [(), pytest.param(("--metrics-port=0",), marks=pytest.mark.drill)], ids=["plain", "metrics port"]
)
def test_out_of_descriptors_it_waits_for_them_quietly_and_goes_on(
    models: Path, tmp_path: Path, flags: tuple[str, ...], seen: Seen
) -> None:
    with running(models, tmp_path, "--poll-s=0.2", *flags) as server:
        server.wait_for_status("/v2/health/ready", 200)
        pid, before = server.process.pid, resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0]
        limit_files(server, num_files(pid) + SPARE)
        crowd = [socket.create_connection(server.address, timeout=SOON_S) for _ in range(4 * SPARE)]
        time.sleep(0.5)
        start, used = time.monotonic(), cpu_s(pid)
        assert server.client.post(CLASSIFY, content=png()).status_code == 200  # a connection from before
        time.sleep(2.5)
        share = (cpu_s(pid) - used) / (time.monotonic() - start)
        assert share < 0.5, f"{share:.0%} of a core for nothing"
        server.wait_until(lambda: "Too many open files" in server.stderr(), "the cause to be told")
        for connection in crowd:
            with suppress(OSError):
                connection.close()
        limit_files(server, before)
        took = within(SOON_S, lambda: _fresh(server) == 200, "new clients to be let in")
        write_fake_bundle(models, labels=("red", "green"))
        server.wait_until(lambda: "version 2 is ready" in server.stderr(), "the repository to be followed again")
        assert figure(server, "modelyard_repository_readable") == 1
        seen(f"{share:.0%} of a core while there were none; new clients are let in {took:.1f} s after there were")


def _fresh(server: Server) -> int:
    try:
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            return client.get(f"{server.url}/v2/health/ready").status_code
    except httpx.TransportError:
        return 0
