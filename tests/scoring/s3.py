"""An S3 of its own on loopback: moto's server in a process."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.scoring.running import free_port

PATIENCE_S = 30.0


@dataclass
class Store:
    """Where it listens."""

    port: int
    buckets: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def query(self) -> str:
        """What a URL needs to lead there."""
        return f"?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """The same for a whole process, as Arrow and Amazon's own tools read it."""
        return KEYS | {"AWS_ENDPOINT_URL": self.endpoint}

    def make_bucket(self) -> str:
        """A new bucket; its name."""
        name = f"yard-{len(self.buckets)}"
        self.buckets.append(name)
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")):  # noqa: S310
            return name


KEYS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def serving_s3() -> Iterator[Store]:
    """A server with no bucket yet."""
    store = Store(free_port())
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{store.port}'])"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait(store, process)
            yield store
        finally:
            process.kill()


def _wait(store: Store, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"{store.endpoint}/moto-api/"):  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "moto's server ended"
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.05)
