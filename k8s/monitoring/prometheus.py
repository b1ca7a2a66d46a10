"""A real Prometheus in a folder of its own: started with a configuration, asked over its HTTP API, stopped.

Knows Prometheus' command line and API. Knows nothing of what it scrapes.
"""

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 60.0


class Answer(NamedTuple):
    """What a query gave."""

    num_series: int
    sample: float | None
    """The last number that is one, of the first series that has any."""
    labels: dict[str, str]
    """Of that series."""


class Prometheus:
    """One that runs."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log

    def ask(self, query: str, start: float, end: float, step_s: float) -> Answer:
        """A query over a time.

        Raises:
            ValueError: it cannot be evaluated; the text says why.
        """
        given = {"query": query, "start": str(start), "end": str(end), "step": str(step_s)}
        series = self._get("/api/v1/query_range?" + urllib.parse.urlencode(given))["result"]
        numbers = [
            ([float(value) for _, value in one["values"] if not math.isnan(float(value))], one["metric"])
            for one in series
        ]
        told = [(values[-1], labels) for values, labels in numbers if values]
        value, labels = told[0] if told else (None, {})
        return Answer(len(told), value, labels)

    def rules(self) -> list[dict[str, Any]]:
        """Every rule as it stands, with its health and what is active of it."""
        return [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """Every target, with how its last scrape went."""
        found: list[dict[str, Any]] = self._get("/api/v1/targets")["activeTargets"]
        return found

    def complaints(self) -> list[str]:
        """Lines of its log at warning or above."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if "level=warn" in line or "level=error" in line]

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=ANSWER_LIMIT_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as cause:
            raise ValueError(json.load(cause).get("error", str(cause))) from None

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until it answers.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                self._get("/api/v1/status/buildinfo")
                return
            except (OSError, ValueError):
                time.sleep(0.1)
        raise RuntimeError(f"Prometheus did not start:\n{self._log.read_text(encoding='utf-8')[-3000:]}")


@contextmanager
def prometheus(folder: Path, config: dict[str, Any], port: int) -> Iterator[Prometheus]:
    """Run one for the length of a `with`.

    Raises:
        RuntimeError: it did not start.
    """
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=info"]  # fmt: skip
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        running = Prometheus(port, log)
        try:
            running.wait(process)
            yield running
        finally:
            process.terminate()
