"""The service, running: as a process of its own over real sockets, or inside the test over ASGI."""

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from serving.app import create_app
from serving.batching.placing import DEVICES, Devices
from serving.repository.slots import ModelState
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"https?://127\.0\.0\.1:\d+")
PATIENCE_S = 30.0  # a cold start on a busy machine; a warm one takes a second
POLL_S = 0.02
SETTLE_S = 15.0  # inside the test nothing starts cold

MAX_BODY_BYTES = 1_000_000
MAX_INPUT_BYTES = 200_000
MAX_INSTANCES = 8
SMALL_LIMITS = (
    f"--max-body-bytes={MAX_BODY_BYTES}",
    f"--max-input-bytes={MAX_INPUT_BYTES}",
    f"--max-instances={MAX_INSTANCES}",
)
"""So that going over them is cheap."""


class Server:
    """One `python -m serving`, its output in files so that no pipe ever fills."""

    def __init__(
        self,
        repository: Path,
        folder: Path,
        *flags: str,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        module: str = "serving",
        prefix: Sequence[str] = (),
    ) -> None:
        """`prefix`: a command that turns itself into the one that follows it, like `taskset -c 0`."""
        self._stdout, self._stderr = folder / "stdout.txt", folder / "stderr.txt"
        command = [*prefix, sys.executable, "-m", module, str(repository), "--port", str(port), *flags]
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, cwd=ROOT, env=environment_with(environment or {})
            )
        try:
            self.url = f"http://127.0.0.1:{port}" if port else self._announced_address()
        except AssertionError:
            self.process.kill()
            raise
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False, verify=verify)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for a plain socket."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def stdout(self) -> str:
        """Everything printed to standard output so far."""
        return self._stdout.read_text(encoding="utf-8")

    def stderr(self) -> str:
        """Everything printed to standard error so far."""
        return self._stderr.read_text(encoding="utf-8")

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Poll until something holds; a dead process or no patience left is a failure with the output in it."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None, f"the server ended, waiting for {what}: {self.stderr()}"
            assert time.monotonic() < deadline, f"waited in vain for {what}: {self.stdout()} {self.stderr()}"
            time.sleep(POLL_S)

    def wait_for_status(self, path: str, status: int) -> None:
        """Poll a path until it answers with a status."""
        self.wait_until(lambda: self._status(path) == status, f"{path} to answer {status}")

    def peak_memory_bytes(self) -> int:
        """The most memory that the process ever had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def terminate(self) -> None:
        """Ask the process to end, as Kubernetes and systemd do."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM if it still runs, and its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()

    def _announced_address(self) -> str:
        self.wait_until(lambda: bool(ADDRESS.search(self.stdout() + self.stderr())), "the address to be announced")
        return str(ADDRESS.findall(self.stdout() + self.stderr())[0])

    def _status(self, path: str) -> int:
        try:
            return self.client.get(path).status_code
        except httpx.TransportError:
            return 0


@contextmanager
def running(
    repository: Path,
    folder: Path,
    *flags: str,
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    verify: ssl.SSLContext | bool = True,
    module: str = "serving",
    prefix: Sequence[str] = (),
) -> Iterator[Server]:
    """A server process that answers; at the end it must go with exit code 0 and must never have logged a traceback."""
    server = Server(
        repository, folder, *flags, port=port, environment=environment, verify=verify, module=module, prefix=prefix
    )
    try:
        server.wait_for_status("/v2/health/live", 200)
        yield server
    finally:
        code = server.stop()
    assert "Traceback" not in server.stderr(), server.stderr()
    assert code == 0, f"exit code {code} after SIGTERM: {server.stderr()}"


def run_to_the_end(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m serving ...` for a start that is expected to fail by itself."""
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=ROOT,
        env=environment_with(environment or {}),
    )


def environment_with(settings: Mapping[str, str]) -> dict[str, str]:
    """This environment without anybody's settings or proxies, plus the given settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MODELYARD_") and not name.lower().endswith("_proxy")
    }
    return kept | dict(settings)


def free_port() -> int:
    """A port that nobody listens on, for servers that announce no address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def starting(
    settings: Settings, on_loaded: Callable[[], object] = lambda: None, devices: Devices = DEVICES
) -> AsyncIterator[httpx.AsyncClient]:
    """The service inside this process, its models perhaps still loading."""

    def tell(_: list[ModelState]) -> None:
        on_loaded()

    app = create_app(settings, on_loaded=tell, devices=devices)
    transport = httpx.ASGITransport(app)
    async with (
        app.api.router.lifespan_context(app.api),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@asynccontextmanager
async def started(settings: Settings, devices: Devices = DEVICES) -> AsyncIterator[httpx.AsyncClient]:
    """The service inside this process, every model ready or refused."""
    loaded, loop = asyncio.Event(), asyncio.get_running_loop()
    async with starting(settings, on_loaded=lambda: loop.call_soon_threadsafe(loaded.set), devices=devices) as client:
        await asyncio.wait_for(loaded.wait(), SETTLE_S)
        yield client
