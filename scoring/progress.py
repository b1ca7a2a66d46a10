"""How far a job is: a bar with rate and time left on a terminal, a line now and then elsewhere, figures for
Prometheus.

Knows numbers. Knows nothing of what they count.
"""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, start_http_server
from prometheus_client import Counter as Counted
from tqdm import tqdm

from bundle.errors import RunError

LINE_EVERY_S = 30.0
PUSH_EVERY_S = 15.0


class Progress:
    """Told of rows as they are written."""

    def __init__(self, what: str, total: int | None, already: int) -> None:
        self._bar = tqdm(total=total, initial=already, unit="row", desc=what, smoothing=0.05,
                         disable=not sys.stderr.isatty(), **_size())  # fmt: skip
        self._what, self._total = what, total
        self._done = already
        self._errors = 0
        self._began = self._told = time.monotonic()
        self._new = 0
        self.registry = CollectorRegistry()
        self._rows = Counted("modelyard_score_rows", "Rows written by this run", ["model"], registry=self.registry)
        self._bad = Counted(
            "modelyard_score_errors", "Rows of them with an error", ["model", "cause"], registry=self.registry
        )
        self._share = Gauge(
            "modelyard_score_done_ratio", "Share of all rows that is written", ["model"], registry=self.registry
        )
        self._rows.labels(what)
        if total is not None:
            self._share.labels(what).set(already / total if total else 1.0)

    def __call__(self, num_rows: int, errors: Counter[str]) -> None:
        """So many rows more."""
        self._done, self._new = self._done + num_rows, self._new + num_rows
        self._errors += errors.total()
        self._bar.update(num_rows)
        self._rows.labels(self._what).inc(num_rows)
        for cause, number in errors.items():
            self._bad.labels(self._what, cause).inc(number)
        if self._total:
            self._share.labels(self._what).set(self._done / self._total)
        if self._bar.disable and time.monotonic() - self._told > LINE_EVERY_S:
            self._told = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        rate = self._new / max(time.monotonic() - self._began, 1e-9)
        of = f" of {self._total}, {(self._total - self._done) / rate:.0f} s left" if self._total and rate else ""
        return f"{self._what}: {self._done} rows{of}; {rate:.0f} rows/s, {self._errors} bad"

    def close(self) -> None:
        """The bar stays as it is."""
        self._bar.close()


def _size() -> dict[str, int]:
    """A usual one for the bar where the terminal claims to have none, as in some containers; else it asks itself."""
    if sys.stderr.isatty() and not os.get_terminal_size(sys.stderr.fileno()).columns:
        return {"ncols": 80, "nrows": 24}
    return {}


@contextmanager
def shown(progress: Progress, port: int | None, gateway: str | None, job: str) -> Iterator[None]:
    """Serve the figures while the body runs, and push them now and then, and at its end.

    Raises:
        RunError: the port is taken.
    """
    server = None if port is None else _serve(port, progress)
    pushing = _Pushing(gateway, job, progress.registry) if gateway else None
    try:
        if pushing:
            pushing.start()
        yield
    finally:
        progress.close()
        if server is not None:
            server.shutdown()
            server.server_close()
        if pushing:
            pushing.end()


def _serve(port: int, progress: Progress) -> Any:
    try:
        server, _ = start_http_server(port, registry=progress.registry)
    except (OSError, OverflowError) as cause:
        raise RunError(f"--metrics-port {port}: {getattr(cause, 'strerror', cause)}") from None
    return server


class _Pushing(threading.Thread):
    """Pushes figures; that nobody takes them is said, once, and never ends a job."""

    def __init__(self, gateway: str, job: str, registry: CollectorRegistry) -> None:
        super().__init__(daemon=True, name="modelyard-push")
        self._gateway, self._job, self._registry = gateway, job, registry
        self._ended = threading.Event()
        self._said = False

    def run(self) -> None:
        """Until the end."""
        while not self._ended.wait(PUSH_EVERY_S):
            self._push()

    def end(self) -> None:
        """With the last figures."""
        self._ended.set()
        self.join()
        self._push()

    def _push(self) -> None:
        try:
            push_to_gateway(self._gateway, self._job, self._registry)
        except (OSError, ValueError, HTTPException) as cause:
            if not self._said:
                self._said = True
                print(f"--push-gateway {self._gateway}: {cause}", file=sys.stderr, flush=True)
