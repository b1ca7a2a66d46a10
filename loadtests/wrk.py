"""Drive hard: `wrk` where it is installed, the Python client otherwise; the same figures from both.

Knows wrk's command line and loadtests/post.lua. Knows nothing of models.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loadtests.client import drive, post

SCRIPT = Path(__file__).with_name("post.lua")
MARK = "RESULT "
PATIENCE_S = 30


@dataclass(frozen=True)
class Target:
    """What is sent where; the bodies in turn."""

    port: int
    path: str
    media_type: str
    bodies: Sequence[bytes]
    header: str | None = None
    """One more header line."""


@dataclass(frozen=True)
class Figures:
    """Of one closed-loop run."""

    per_second: float
    """Good answers a second."""
    refused_per_second: float
    """Answers with another status than 200."""
    p50_ms: float
    p99_ms: float
    """Of all answers."""
    broken: int
    """Connections or requests that failed without an answer."""


class _Result(msgspec.Struct, forbid_unknown_fields=True):
    requests: int
    duration_us: int
    p50_us: float
    p99_us: float
    max_us: float
    bad_status: int
    connect: int
    read: int
    write: int
    timeout: int


def drive_hard(target: Target, connections: int, seconds: float) -> Figures:
    """Closed loop, as fast as the answers come."""
    if shutil.which("wrk"):
        return _by_wrk(target, connections, seconds)
    return _by_python(target, connections, seconds)


def _by_python(target: Target, connections: int, seconds: float) -> Figures:
    headers = [target.header] if target.header else []
    requests = [post(target.path, target.media_type, body, headers=headers) for body in target.bodies]
    load = drive(target.port, requests, connections, seconds)
    refused = (load.answered - load.codes[200]) / load.seconds
    return Figures(load.per_second, refused, load.p50_ms, load.p99_ms, len(load.lost) + load.refused)


def _by_wrk(target: Target, connections: int, seconds: float) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, str(i)) for i in range(len(target.bodies))]
        for file, body in zip(files, target.bodies, strict=True):
            file.write_bytes(body)
        command = [
            *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(SCRIPT)),
            *(f"http://127.0.0.1:{target.port}{target.path}", "--", target.media_type, target.header or "-"),
            *map(str, files),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE_S, check=False)
    return parse(done.stdout + done.stderr)


def parse(output: str) -> Figures:
    """Figures from what wrk printed.

    Raises:
        RuntimeError: it did not print the line that loadtests/post.lua writes.
    """
    _, mark, line = output.rpartition(MARK)
    if not mark:
        raise RuntimeError(f"wrk did not say how it went; it printed:\n{output}")
    found = msgspec.json.decode(line.partition("\n")[0], type=_Result)
    seconds = found.duration_us / 1e6
    return Figures(
        per_second=(found.requests - found.bad_status) / seconds,
        refused_per_second=found.bad_status / seconds,
        p50_ms=found.p50_us / 1e3,
        p99_ms=found.p99_us / 1e3,
        broken=found.connect + found.read + found.write + found.timeout,
    )
