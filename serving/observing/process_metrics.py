"""What the service's processes take of the machine, read from /proc whenever somebody scrapes.

Whichever worker is asked answers for all, the supervisor and those that have ended included. Where there is no /proc
(macOS) there are no figures. Knows /proc and Prometheus' families. Knows nothing of what the processes do.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from serving.observing.families import Family
from serving.workers.shared import Place

PROC: Final = Path("/proc")
START: Final = "modelyard_process_start_time_seconds"
CPU: Final = "modelyard_process_cpu_seconds_total"
MEMORY: Final = "modelyard_process_resident_memory_bytes"
OPEN_FILES: Final = "modelyard_process_open_fds"
MAX_FILES: Final = "modelyard_process_max_fds"

PROCESS_FAMILIES: Final = {
    START: Family("gauge", (), "When the newest process of the service began, in seconds since 1970."),
    CPU: Family("counter", (), "Processor time of all processes of the service, of those that have ended too."),
    MEMORY: Family("gauge", (), "Resident memory of all of them; what they share counts in each."),
    OPEN_FILES: Family("gauge", (), "Open files, sockets included, of the process that has most."),
    MAX_FILES: Family("gauge", (), "Files that one process may have open."),
}
"""Name, as a scrape shows it -> what it is."""

# Fields of /proc/<pid>/stat, counted from the one after the command's name (man 5 proc_pid_stat).
_OWN_CPU: Final = (11, 12)
_CHILDRENS_CPU: Final = (13, 14)
_START: Final = 19
_RESIDENT: Final = 21


class Process(NamedTuple):
    """One process, now."""

    start_ticks: int
    """Since the machine was started."""
    cpu_ticks: int
    ended_ticks: int
    """Of children that have ended."""
    resident_bytes: int
    open_files: int


def process_figures(proc: Path = PROC) -> list[Metric]:
    """Every figure, now; none where there is no /proc."""
    place = Place.given()
    first = os.getpid() if place is None else place.supervisor
    processes = [found for pid in _family(proc, first) if (found := _process(proc, pid)) is not None]
    limit, booted = _file_limit(proc), _boot_time(proc)
    if not processes or limit is None or booted is None:
        return []
    ticks = os.sysconf("SC_CLK_TCK")
    cpu = sum(one.cpu_ticks for one in processes) + processes[0].ended_ticks
    values = {
        START: booted + max(one.start_ticks for one in processes) / ticks,
        CPU: cpu / ticks,
        MEMORY: sum(one.resident_bytes for one in processes),
        OPEN_FILES: max(one.open_files for one in processes),
        MAX_FILES: limit,
    }
    return [_metric(name, value) for name, value in values.items()]


def _metric(name: str, value: float) -> Metric:
    kind = CounterMetricFamily if PROCESS_FAMILIES[name].kind == "counter" else GaugeMetricFamily
    return kind(name, PROCESS_FAMILIES[name].text, value=value)


def _family(proc: Path, pid: int) -> Iterator[int]:
    """A process, and its children where it is a supervisor: workers start nobody."""
    yield pid
    if pid != os.getpid():
        text = _read(proc / f"{pid}/task/{pid}/children")
        yield from map(int, (text or str(os.getpid())).split())


def _process(proc: Path, pid: int) -> Process | None:
    """None where it is gone, or no longer anybody's to look at."""
    text = _read(proc / f"{pid}/stat")
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()
    try:
        open_files = sum(1 for _ in (proc / f"{pid}/fd").iterdir())
    except OSError:
        return None
    return Process(
        start_ticks=int(fields[_START]),
        cpu_ticks=sum(int(fields[i]) for i in _OWN_CPU),
        ended_ticks=sum(int(fields[i]) for i in _CHILDRENS_CPU),
        resident_bytes=int(fields[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE"),
        open_files=open_files,
    )


def _boot_time(proc: Path) -> float | None:
    lines = (_read(proc / "stat") or "").splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)


def _file_limit(proc: Path) -> float | None:
    lines = (_read(proc / "self/limits") or "").splitlines()
    soft = next((line.split()[3] for line in lines if line.startswith("Max open files")), None)
    return None if soft is None else float("inf" if soft == "unlimited" else soft)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
