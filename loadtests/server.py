"""A real server process of one's own, on a free port: started, waited for, measured, stopped.

Knows processes and /proc. Knows nothing of what a server answers.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_LIMIT_S = 90
STOP_LIMIT_S = 40
POLL_S = 0.01
ROOT = Path(__file__).parents[1]
UVICORNS = (0, -signal.SIGTERM)  # it ends itself by the signal that it was sent


class Server:
    """One command that serves HTTP on 127.0.0.1."""

    def __init__(
        self, name: str, port: int, ready_path: str, command: list[str], clean: tuple[int, ...] = (0,)
    ) -> None:
        self.name = name
        self.clean = clean
        """Exit codes that are no failure."""
        self.port = port
        self.command = command
        self.ready_s = 0.0
        """From its start to its first 200 at `ready_path`."""
        self._ready_path = ready_path
        self._printed = ""
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it is read as long as the server lives
        self._started = time.perf_counter()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
        self.process = subprocess.Popen(
            command, stdout=self._output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
        )

    def wait_until_ready(self) -> None:
        """Poll until it says that it is ready.

        Raises:
            RuntimeError: it ended, or did not become ready in time; its output is in the message.
        """
        while self.process.poll() is None and time.perf_counter() - self._started < START_LIMIT_S:
            if self._is_ready():
                self.ready_s = time.perf_counter() - self._started
                return
            time.sleep(POLL_S)
        raise RuntimeError(f"{self.name} did not become ready:\n{self.output()}")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def rss_bytes(self) -> int:
        """Resident memory of the process and all below it."""
        return sum(map(rss_bytes, family(self.process.pid)))

    def terminate(self) -> None:
        """SIGTERM, as Kubernetes sends it."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM if it still runs, and its exit code; killed where it does not go."""
        if self.process.poll() is None:
            self.terminate()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            for pid in family(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
        self._printed = self.output()
        self._output.close()
        return self.process.returncode

    def output(self) -> str:
        """What it printed so far."""
        if self._output.closed:
            return self._printed
        self._output.seek(0)
        return self._output.read()


def start_service(repository: Path, *flags: str) -> Server:
    """`modelyard serve`, not yet waited for."""
    port = free_port()
    command = [sys.executable, "-m", "serving", str(repository), "--port", str(port), *flags]
    return Server("the service", port, "/v2/health/ready", command)


def start_referee(bundles: list[Path], *flags: str) -> Server:
    """The hand-written server, not yet waited for."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.referee", *map(str, bundles), "--port", str(port), *flags]
    return Server("the referee", port, "/ready", command, UVICORNS)


def start_echo(answers: Path) -> Server:
    """The empty server, not yet waited for."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.echo", str(answers), str(port)]
    return Server("the echo", port, "/ready", command, UVICORNS)


@contextmanager
def ready(*servers: Server) -> Iterator[None]:
    """All of them ready inside, stopped on the way out.

    Raises:
        RuntimeError: one did not become ready, or did not stop cleanly.
    """
    try:
        for server in servers:
            server.wait_until_ready()
        yield
    finally:
        codes = {server: server.stop() for server in servers}
    for server, code in codes.items():
        if code not in server.clean:
            raise RuntimeError(f"{server.name} ended with {code}:\n{server.output()}")


@contextmanager
def service(repository: Path, *flags: str) -> Iterator[int]:
    """`modelyard serve` for the length of a `with`; gives the port.

    Raises:
        RuntimeError: it did not become ready, or did not stop cleanly; its output is in the message.
    """
    server = start_service(repository, *flags)
    with ready(server):
        yield server.port


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in family(int(child)))]


def rss_bytes(pid: int) -> int:
    """Resident memory of one process; 0 where it is gone."""
    try:
        resident = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(resident) * os.sysconf("SC_PAGE_SIZE")
