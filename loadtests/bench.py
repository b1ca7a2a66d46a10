"""`make bench`: the service over four ceilings, in one run on the same processors; answers are checked under load.

(a) the engine alone, (b) decode + prepare + run + answer without HTTP, (c) an empty HTTP server, (d) the referee, a
server written by hand for that one model. docs/benchmark.md says what each means. Knows every part of loadtests and
joins them here.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import tyro

from bundle.store import names, newest
from loadtests.bench_models import PICTURE, TEXT, TINY
from loadtests.model_bench import REFEREE, SERVICE, ModelRows, Servers, http_contestants, measure_model
from loadtests.overload import Overload, overload
from loadtests.questions import Questions, questions
from loadtests.report import print_report
from loadtests.rounds import Rounds
from loadtests.server import Server, ready, start_echo, start_referee, start_service
from loadtests.stop import Stop, stop_under_load
from loadtests.under_load import Checked
from loadtests.wrk import drive_hard
from runtime.cpus import available_cpus
from serving.settings import Settings
from training.results import this_machine

STARTS = 3
SPREAD_CONNECTIONS = 32
"""At which more than one process is measured, and stopped."""
DEADLINE_HEADER = "X-Request-Timeout-Ms"
REFEREE_QUEUE = 64
"""What the referee lets wait in the overload: as many as answer within the deadline."""


@dataclass(frozen=True)
class Options:
    """Measure the service over what the same processors can do."""

    repository: tyro.conf.Positional[Path]
    """Folder of the models, as `python -m loadtests.bench_models` makes it; all of them are loaded."""
    models: tuple[str, ...] = (TINY, PICTURE, TEXT)
    """Which of them are driven."""
    connections: tuple[int, ...] = (1, 8, 32, 200)
    workers: tuple[int, ...] = (2,)
    """Numbers of processes that the first of the models is measured with, besides one."""
    seconds: float = 2.0
    """Of one measurement; wrk takes whole ones."""
    rounds: int = 3
    parts: tuple[str, ...] = ("loads", "workers", "start", "overload", "stop")
    """What is measured."""
    flags: tuple[str, ...] = ()
    """Further flags of the service."""
    json_file: Path | None = None
    """Where the figures go as JSON."""


@dataclass(frozen=True)
class Processes:
    """Several processes on one port."""

    model: str
    workers: int
    connections: int
    service: Checked
    referee: Checked
    over_referee: float


@dataclass(frozen=True)
class Start:
    """From the start of the process to ready, with every model of the repository; and what it then holds."""

    num_models: int
    service_s: float
    referee_s: float
    service_rss_bytes: int
    """After a request to every model that is driven."""
    referee_rss_bytes: int


@dataclass
class Report:
    """Everything that was measured."""

    machine: str
    cpus: int
    seconds: float
    rounds: int
    models: list[ModelRows] = field(default_factory=list)
    processes: list[Processes] = field(default_factory=list)
    start: Start | None = None
    overload: dict[str, Overload] = field(default_factory=dict)
    """By server, of the model that costs most."""
    stop: Stop | None = None
    took_s: float = 0.0


def bench(options: Options) -> int:
    """Run everything; 1 where an answer was wrong or lost, whatever the figures are."""
    began = time.perf_counter()
    asked = [questions(options.repository / name) for name in options.models]
    report = Report(this_machine(), available_cpus(), options.seconds, options.rounds)
    if "loads" in options.parts:
        with _one_of_each(options, asked) as servers:
            for one in asked:
                _say(f"{one.name}: {len(options.connections)} numbers of connections, {options.rounds} rounds")
                report.models.append(
                    measure_model(one, servers, report.cpus, options.connections, options.seconds, options.rounds)
                )
    if "workers" in options.parts:
        report.processes = [_processes(options, asked[0], count) for count in options.workers if _has_workers()]
    if "start" in options.parts:
        report.start = _start(options, asked)
    if "overload" in options.parts:
        report.overload = _overload(options, max(asked, key=lambda one: len(one.bodies[0])))
    if "stop" in options.parts:
        report.stop = _stop(options, asked[0])
    report.took_s = time.perf_counter() - began
    print_report(report)
    if options.json_file:
        options.json_file.parent.mkdir(parents=True, exist_ok=True)
        options.json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 1 if num_faults(report) else 0


def num_faults(report: Report) -> int:
    """Answers that were wrong, and requests that got none."""
    seen = [row.service for model in report.models for row in model.loads]
    seen += [row.service for row in report.processes]
    faults = sum(one.wrong + one.broken for one in seen)
    faults += sum(one.wrong + one.broken for server, one in report.overload.items() if server == SERVICE)
    return faults + (len(report.stop.lost) + report.stop.wrong if report.stop else 0)


@contextlib.contextmanager
def _one_of_each(options: Options, asked: list[Questions]) -> Iterator[Servers]:
    with tempfile.TemporaryDirectory() as answers:
        for one in asked:
            Path(answers, one.name).write_bytes(one.answer)
        servers = Servers(_service(options), start_referee(_bundles(options)), start_echo(Path(answers)))
        with ready(servers.service, servers.referee, servers.echo):
            yield servers


def _service(options: Options, *flags: str) -> Server:
    return start_service(options.repository, *options.flags, *flags)


def _bundles(options: Options) -> list[Path]:
    return [newest(options.repository / name) for name in names(options.repository)]


def _has_workers() -> bool:
    if "workers" in Settings.model_fields:
        return True
    _say("this service knows no --workers: several processes are left out")
    return False


def _processes(options: Options, one: Questions, count: int) -> Processes:
    _say(f"{one.name}: {count} processes")
    flag = f"--workers={count}"
    service, referee = _service(options, flag), start_referee([one.bundle.folder], flag)
    with ready(service, referee):
        servers = Servers(service, referee, echo=referee)
        contestants = http_contestants(one, servers, SPREAD_CONNECTIONS, options.seconds)
        for name in (SERVICE, REFEREE):
            contestants[name]()
        seen = Rounds({name: contestants[name] for name in (SERVICE, REFEREE)}, options.rounds)
    over = seen.ratio(SERVICE, REFEREE)
    return Processes(one.name, count, SPREAD_CONNECTIONS, seen.of(SERVICE), seen.of(REFEREE), over)


def _start(options: Options, asked: list[Questions]) -> Start:
    """In turn, too: both read the same files."""
    _say(f"start to ready, {STARTS} times")
    seen: list[tuple[float, float, int, int]] = []
    for _ in range(STARTS):
        service = _service(options)
        with ready(service):
            service_rss = _used(service, asked, SERVICE)
        referee = start_referee(_bundles(options))
        with ready(referee):
            referee_rss = _used(referee, asked, REFEREE)
        seen.append((service.ready_s, referee.ready_s, service_rss, referee_rss))
    middle: list[Any] = [median(values) for values in zip(*seen, strict=True)]
    return Start(len(_bundles(options)), *middle)


def _used(server: Server, asked: list[Questions], name: str) -> int:
    """Memory once every model has worked for a second."""
    for one in asked:
        drive_hard(one.service(server.port) if name == SERVICE else one.plain(server.port), SPREAD_CONNECTIONS, 1.0)
    return server.rss_bytes()


def _overload(options: Options, one: Questions) -> dict[str, Overload]:
    _say(f"{one.name}: more than can be answered")
    service, referee = _service(options), start_referee([one.bundle.folder], f"--queue-limit={REFEREE_QUEUE}")
    seconds = 2 * options.seconds
    with ready(service, referee):
        return {
            SERVICE: overload(one.service(service.port), DEADLINE_HEADER, one.golden, seconds),
            REFEREE: overload(one.plain(referee.port), DEADLINE_HEADER, one.checked(f"/{one.name}"), seconds),
        }


def _stop(options: Options, one: Questions) -> Stop:
    _say("SIGTERM under load")
    service = _service(options)
    service.wait_until_ready()
    return stop_under_load(service, one.golden, SPREAD_CONNECTIONS)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(bench(tyro.cli(Options, prog="python -m loadtests.bench")))
