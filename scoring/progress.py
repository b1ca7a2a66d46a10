"""How far a job is: a bar with rate and time left on a terminal, a line now and then elsewhere, figures for
Prometheus.

Knows numbers. Knows nothing of what they count.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, start_http_server
from prometheus_client import Counter as Counted
from tqdm import tqdm

from bundle.errors import RunError

LINE_EVERY_S = 30.0


class Progress:
    """Told of rows as they are written."""

    def __init__(self, what: str, total: int | None, already: int) -> None:
        self._bar = tqdm(total=total, initial=already, unit="row", desc=what, smoothing=0.05,
                         disable=not sys.stderr.isatty())  # fmt: skip
        self._what, self._total = what, total
        self._done = already
        self._errors = 0
        self._began = self._told = time.monotonic()
        self._new = 0
        self.registry = CollectorRegistry()
        self._rows = Counted("modelyard_score_rows", "Rows written", ["job"], registry=self.registry).labels(what)
        self._bad = Counted("modelyard_score_errors", "Rows with an error", ["job", "cause"], registry=self.registry)
        share = Gauge("modelyard_score_done_ratio", "Share of the rows that is done", ["job"], registry=self.registry)
        self._share = share.labels(what)

    def __call__(self, num_rows: int, errors: Counter[str]) -> None:
        """So many rows more."""
        self._done, self._new = self._done + num_rows, self._new + num_rows
        self._errors += sum(errors.values())
        self._bar.update(num_rows)
        self._rows.inc(num_rows)
        for cause, number in errors.items():
            self._bad.labels(self._what, cause).inc(number)
        if self._total:
            self._share.set(self._done / self._total)
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


@contextmanager
def shown(progress: Progress, port: int | None, gateway: str | None, job: str) -> Iterator[None]:
    """Serve the figures while the body runs, or push them at its end.

    Raises:
        RunError: the port is taken, or the gateway does not answer.
    """
    server = None
    if port is not None:
        try:
            server, _ = start_http_server(port, registry=progress.registry)
        except OSError as cause:
            raise RunError(f"--metrics-port {port}: {cause.strerror}") from None
    try:
        yield
    finally:
        progress.close()
        if server is not None:
            server.shutdown()
            server.server_close()
        if gateway:
            try:
                push_to_gateway(gateway, job, progress.registry)
            except OSError as cause:  # the rows are written: a lost figure is no lost job
                print(f"--push-gateway {gateway}: {cause}", file=sys.stderr)
