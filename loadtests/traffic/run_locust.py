"""Locust as a process of its own, headless, and what it left behind: tables, a report, a ledger.

Knows Locust's command line. Knows nothing of shapes or limits.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.traffic.families import TrafficError
from loadtests.traffic.ledger import Ledger

ROOT = Path(__file__).parents[2]
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
FAILED_REQUESTS = 1
"""Locust's exit code where requests failed: thresholds judge that."""
STOP_TIMEOUT_S = 90
"""Users wait so long for their last answers; what is cut off would be counted by one side only."""


@dataclass(frozen=True)
class Ran:
    """One run of Locust."""

    folder: Path
    """With locust_stats.csv and its like, locust.json, report.html, ledger.json and output.txt."""
    ledger: Ledger

    @property
    def stats_json(self) -> Path:
        """Locust's own table, written at the very end; the one in CSV may lack the last second."""
        return self.folder / "locust.json"


def run_locust(
    folder: Path, options: Mapping[str, object], users: Iterable[str] = (), cpus: set[int] | None = None
) -> Ran:
    """Run it to its end with options by name, as `{"rate-per-user": 5}`; on some processors only, where they are given.

    Raises:
        TrafficError: it could not be run; what it said is in the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ledger, output = folder / "ledger.json", folder / "output.txt"
    ledger.unlink(missing_ok=True)
    files = {"csv": "locust", "html": "report.html", "json-file": "locust", "ledger": ledger.name}
    fixed: dict[str, object] = {name: (folder / file).resolve() for name, file in files.items()}
    fixed |= {"headless": True, "only-summary": True}
    with output.open("wb") as file, on_cpus(cpus):
        done = subprocess.run(
            command(fixed | dict(options), users), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode not in (0, FAILED_REQUESTS) or not ledger.is_file():
        said = output.read_text(encoding="utf-8", errors="replace")
        raise TrafficError(f"Locust ended with {done.returncode}:\n{said[-4000:]}")
    return Ran(folder, Ledger.from_plain(json.loads(ledger.read_text(encoding="utf-8"))))


def show_page(options: Mapping[str, object]) -> int:
    """Locust with its page in the browser, until it is stopped; its exit code."""
    return subprocess.run(command(options), cwd=ROOT, check=False).returncode


def command(options: Mapping[str, object], users: Iterable[str] = ()) -> list[str]:
    """Locust's command line."""
    given = [
        word
        for name, value in ({"stop-timeout": STOP_TIMEOUT_S} | dict(options)).items()
        for word in _words(name, value)
    ]
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *given, *users]


@contextmanager
def on_cpus(cpus: set[int] | None) -> Iterator[None]:
    """Processes that are started inside run on these processors only; None: wherever this one may."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _words(name: str, value: object) -> list[str]:
    if value is True:
        return [f"--{name}"]
    if value is None or value is False or value == "":
        return []
    return [f"--{name}", str(value)]
