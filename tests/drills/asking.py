"""A service under a drill: asked all the time while something is done to it, and what it tells of itself.

Knows the service's ports and figures. Knows nothing of faults.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.builders import png
from tests.serving.running import PATIENCE_S, Server

CLASSIFY = "/v1/classify"
METRICS = re.compile(r"metrics and health on (http://\S+)")


@dataclass
class Asked:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Number of answers by status; 0 for a connection that broke or gave no answer in time."""
    slowest_s: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{number} x {status or 'no answer'}" for status, number in sorted(self.statuses.items()))
        return f"{told}; slowest {self.slowest_s:.2f} s"


def ask(client: httpx.Client, asked: Asked, headers: dict[str, str] | None = None) -> int:
    """One prediction; its status."""
    start = time.monotonic()
    try:
        status = client.post(CLASSIFY, content=png(), headers=headers).status_code
    except httpx.TransportError:
        status = 0
    asked.statuses[status] += 1
    asked.slowest_s = max(asked.slowest_s, time.monotonic() - start)
    return status


def once(server: Server, path: str = CLASSIFY, timeout_s: float = 10.0) -> httpx.Response:
    """One answer over a new connection."""
    with httpx.Client(trust_env=False, timeout=timeout_s) as client:
        return client.post(f"{server.url}{path}", content=png()) if path == CLASSIFY else client.get(server.url + path)


@contextmanager
def asking(server: Server, pause_s: float = 0.05, headers: dict[str, str] | None = None) -> Iterator[Asked]:
    """A client that asks again and again, in a thread, until the end."""
    asked, stop = Asked(), threading.Event()

    def go_on() -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=10.0) as client:
            while not stop.wait(pause_s):
                ask(client, asked, headers)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join()


def metrics_url(server: Server) -> str:
    """Where a server with `--metrics-port` tells its figures and its health."""
    return METRICS.findall(server.stderr())[0]


def figure(server: Server, name: str, url: str | None = None) -> float:
    """The sum of a family's samples as a scrape shows it now."""
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
        text = client.get(f"{url or server.url}/metrics").text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))


def within(seconds: float, holds: Callable[[], bool], what: str) -> float:
    """Wait for something; how long it took."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - start


def version(server: Server) -> int:
    """Which version answers; 0 where none does."""
    answer = once(server)
    return int(answer.json()["version"]) if answer.status_code == 200 else 0
