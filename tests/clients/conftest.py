"""Real clients against a real server process. Run by `make test-clients`, in an environment of the clients' own.

The server runs in the project's environment, and so does the script that writes its repository: the clients pin
versions that the service does not. Where the clients are not installed, nothing here is collected.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")

if find_spec("tritonclient") is None:
    collect_ignore_glob = ["test_*.py"]

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("MODELYARD_PYTHON", str(ROOT / ".venv/bin/python"))
"""The project's interpreter; it has the service, which this one need not have."""
ADDRESS = re.compile(r"listening on http://(127\.0\.0\.1:\d+)")
GRPC_ADDRESS = re.compile(r"gRPC listens on (127\.0\.0\.1:\d+)")
PATIENCE_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class Running:
    """Where a server listens."""

    http: str
    """Host and port."""
    grpc: str
    """The same for gRPC, or "" where the server does not speak it."""
    admin_key: str

    @property
    def url(self) -> str:
        """With its scheme."""
        return f"http://{self.http}"

    @property
    def admin(self) -> dict[str, str]:
        """The headers of somebody who may load and unload."""
        return {"Authorization": f"Bearer {self.admin_key}"}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A process that serves one model of every medium and whose admin key is known."""
    folder = tmp_path_factory.mktemp("clients")
    made = _run("tests/clients/make_repository.py", str(folder / "models")).splitlines()
    admin_key, key_line = made[-2:]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    environment = kept | ({"MODELYARD_ADMIN_KEYS": key_line} if key_line else {})
    command = [PYTHON, "-m", "serving", str(folder / "models"), "--port", "0"]
    if "--grpc-port" in _run("-m", "serving", "--help"):
        command += ["--grpc-port", "0"]
    log = folder / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        address = _wait(process, log)
        text = log.read_text(encoding="utf-8")
        grpc = GRPC_ADDRESS.search(text)
        yield Running(address, grpc[1] if grpc else "", admin_key)
    finally:
        process.terminate()
        code = process.wait(PATIENCE_S)
    text = log.read_text(encoding="utf-8")
    assert code == 0, text
    assert "Traceback" not in text, text


def _wait(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The address that a server announced, once everything is ready."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8")
        assert process.poll() is None, text
        found = ADDRESS.search(text)
        if found and _status(f"http://{found[1]}/v2/health/ready") == 200:
            return found[1]
        time.sleep(POLL_S)
    raise AssertionError(f"not ready within {PATIENCE_S} s: {log.read_text(encoding='utf-8')}")


def _status(url: str) -> int:
    try:
        return int(httpx.get(url, trust_env=False).status_code)
    except httpx.TransportError:
        return 0


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [PYTHON, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def grpc_address(server: Running) -> str:
    """Where the server speaks gRPC."""
    if not server.grpc:
        pytest.skip("this server does not announce a gRPC address")
    return server.grpc
