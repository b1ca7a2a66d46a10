"""`python -m loadtests.traffic` (`make loadtest`): models, a server of one's own, every shape, and the judgement.

Exit code 0: every demand is met; 1: one is not; 2: the test could not be run. Knows all of this package but what Locust
loads.
"""

import math
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from bundle.errors import ModelyardError
from loadtests.server import Server, free_port, ready, start_service
from loadtests.traffic.counters import apart, differences, locust_total, scrape
from loadtests.traffic.families import TrafficError
from loadtests.traffic.ledger import Ledger
from loadtests.traffic.measures import family_measures, rate, recovery_s
from loadtests.traffic.profiles import PROFILES
from loadtests.traffic.report import ShapeRun, Summary, as_markdown, shown, write_summary
from loadtests.traffic.run_locust import on_cpus, run_locust, show_page
from loadtests.traffic.thresholds import DEFAULT, FULL_SPEED, ShapeDemands, judge_shape, read_thresholds

NOT_MET, CANNOT_RUN = 1, 2
CALM = "calm"
FULL_SPEED_USERS = 64
FULL_SPEED_S = 10
USERS_A_RATE = 60
"""About so many users make a shape's rate: enough for every family to have its share."""
ALL_FAMILIES = "classify,segment,detect,anomaly,series,text-classify,text-embed,openai,oip,grpc"
RSS_EVERY_S = 1.0


@dataclass(frozen=True)
class Options:
    """A whole load test."""

    out: Path = Path("build/loadtest")
    """Folder for models and reports."""
    models: Path | None = None
    """Repository of bundles to serve and to ask; left out: small ones are made in <out>/models."""
    inputs: Path | None = None
    """Folder of more inputs (pictures, .txt, .csv), whose answers must be the same each time."""
    thresholds: Path = DEFAULT
    """What is demanded."""
    shapes: tuple[str, ...] = ("steady", "ramp", "spike", "overload", "soak")
    """Which, in this order; `calm` comes before them in any case."""
    families: str = ""
    """As Locust's --families; left out: all for models made here, `served` for others."""
    stretch: float = 1.0
    """Factor on the durations."""
    rate: float = 0.0
    """Requests a second that shares refer to; 0: measured first, at full speed."""
    deadline_ms: float = 1000.0
    """Sent with every request."""
    host: str = ""
    """A service that runs already (http://...), instead of one of one's own; --models must be what it serves."""
    grpc_host: str = ""
    """Its gRPC, host:port."""
    api_key: str = os.environ.get("LOADTEST_API_KEY", "")
    """Its key; best given in the environment, as LOADTEST_API_KEY, where nobody else sees it."""
    tls_ca: str = ""
    """PEM file of who signed its certificate."""
    page: bool = False
    """Locust's page on port 8089 in place of all shapes: choose there, look on, and stop it with Ctrl-C."""
    flags: tuple[str, ...] = ()
    """More flags for one's own server."""
    locust: tuple[str, ...] = field(default=())
    """More options of Locust, as name=value."""


@dataclass
class Target:
    """The service that is driven."""

    url: str
    options: dict[str, object]
    """Of Locust."""
    told: str
    server: Server | None = None
    cpus: set[int] | None = None
    """Processors of the generator; None: any."""


def loadtest(options: Options) -> int:
    """Everything, in turn."""
    start = time.perf_counter()
    demands = read_thresholds(options.thresholds)
    if options.host and options.models is None:
        raise TrafficError("--host needs --models: the bundles that it serves, for their golden answers")
    strangers = [shape for shape in options.shapes if shape not in PROFILES]
    if strangers:
        raise TrafficError(f"--shapes: '{strangers[0]}' is no shape; there are {', '.join(PROFILES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    models = options.models or _made(options)
    with _target(options, models) as target:
        if options.page:
            return show_page(target.options | {"rate": options.rate or None, "web-port": 8089})
        runs: list[ShapeRun] = []
        if not options.rate:
            runs.append(_full_speed(options, target, demands.get(FULL_SPEED, ShapeDemands())))
        capacity, calm = options.rate or runs[0].rate_per_second, None
        for shape in dict.fromkeys((CALM, *options.shapes)):
            ledger, one = _shape(options, target, shape, capacity, calm, demands.get(shape, ShapeDemands()))
            calm = calm or ledger
            runs.append(one)
    for shape in sorted(demands.keys() - {one.shape for one in runs}):
        print(f"not run, so not judged: {shape}", file=sys.stderr)
    machine = f"{os.cpu_count()} processors, {platform.machine()}, load average {os.getloadavg()[1]:.1f}"
    took_s = time.perf_counter() - start
    summary = Summary(machine, target.told, capacity, options.deadline_ms, str(options.thresholds), took_s, runs)
    write_summary(summary, options.out)
    print(as_markdown(summary).split("## What was demanded")[0])
    print(shown(summary))
    print(f"{options.out}/summary.md, summary.json, and a folder a shape with Locust's tables and report.html")
    return 0 if summary.holds else NOT_MET


def _made(options: Options) -> Path:
    """Small models of every family; torch is imported for this alone."""
    from loadtests.traffic.models import make_models

    make_models(options.out)
    return options.out / "models"


@contextmanager
def _target(options: Options, models: Path) -> Iterator[Target]:
    """A server process beside the generator, each on processors of its own where there are two; or the one named."""
    families = options.families or ("served" if options.models else ALL_FAMILIES)
    common: dict[str, object] = {"bundles": models.resolve(), "families": families, "timeout-ms": options.deadline_ms}
    os.environ["LOADTEST_API_KEY"] = options.api_key  # a command line can be read by everybody on the machine
    common |= {"tls-ca": options.tls_ca, "inputs": options.inputs} | dict(one.split("=", 1) for one in options.locust)
    if options.host:
        yield Target(options.host, common | {"host": options.host, "grpc-host": options.grpc_host}, options.host)
        return
    grpc_port, cpus = free_port(), sorted(os.sched_getaffinity(0))
    ours, theirs = set(cpus[: len(cpus) // 2]), set(cpus[len(cpus) // 2 :])
    with on_cpus(theirs):
        server = start_service(models, "--grpc-port", str(grpc_port), *options.flags)
    with ready(server):
        url = f"http://127.0.0.1:{server.port}"
        told = f"`{' '.join(['modelyard serve', *options.flags])}` on {len(theirs)} of {len(cpus)} processors".replace(
            " `", "`"
        )
        locust = common | {"host": url, "grpc-host": f"127.0.0.1:{grpc_port}"}
        yield Target(url, locust, told, server, ours or None)


def _full_speed(options: Options, target: Target, demands: ShapeDemands) -> ShapeRun:
    """As many good answers as there are when so many users ask again once they are answered, the mix as it will be."""
    more = {"users": FULL_SPEED_USERS, "spawn-rate": FULL_SPEED_USERS, "pacing": "closed", "timeout-ms": None}
    run_time = {"run-time": f"{max(FULL_SPEED_S * options.stretch, 6):.0f}s"}
    _, one = _judged(options, target, FULL_SPEED, more | run_time, demands)
    if not one.rate_per_second > 0:
        raise TrafficError(f"at full speed nothing was answered well: {one.examples or 'the run was too short'}")
    return one


def _shape(
    options: Options, target: Target, shape: str, capacity: float, calm: Ledger | None, demands: ShapeDemands
) -> tuple[Ledger, ShapeRun]:
    """One shape at a rate of so many requests a second."""
    highest = max(max(stage.first, stage.last) for stage in PROFILES[shape].stages)
    users = {"rate": f"{capacity:.3f}", "rate-per-user": f"{capacity * highest / USERS_A_RATE:.4f}"}
    return _judged(
        options, target, shape, users | {"shape": shape, "stretch": options.stretch}, demands, capacity, calm
    )


def _judged(
    options: Options,
    target: Target,
    name: str,
    more: dict[str, object],
    demands: ShapeDemands,
    capacity: float = math.nan,
    calm: Ledger | None = None,
) -> tuple[Ledger, ShapeRun]:
    """One run of Locust between two looks at the server's counters."""
    print(name, file=sys.stderr)
    figures = (target.url + "/metrics", options.api_key, options.tls_ca or None)
    before = scrape(*figures)
    with _watched(target.server) as rss_bytes:
        users = ["MixedUser"] if name == FULL_SPEED else []
        ran = run_locust(options.out / name, target.options | more, users, target.cpus)
    after = scrape(*figures)
    ledger = ran.ledger
    whole = family_measures(ledger.whole, calm.whole if calm else ledger.whole)
    whole |= {
        "goodput_share": rate(ledger) / capacity,
        "p99_over_deadline": ledger.whole.from_sent.percentile(0.99) / options.deadline_ms,
        "lag_p99_ms": ledger.lag.percentile(0.99),
        "unaccounted": apart(before, after, ledger) + abs(locust_total(ran.stats_json) - ledger.ended.total()),
        "rss_growth": growth(rss_bytes),
    }
    if name in PROFILES:
        whole["recovery_s"] = recovery_s(ledger, PROFILES[name].stretched(options.stretch))
    families = {one: family_measures(ledger.of(one), (calm or ledger).of(one)) for one in sorted(ledger.families)}
    lines = judge_shape(name, demands, whole, families)
    counts = (dict(ledger.whole.outcomes), dict(ledger.whole.codes))
    told = (_problems(ledger), differences(before, after, ledger))
    return ledger, ShapeRun(name, rate(ledger), whole, families, lines, *counts, *told)


def _problems(ledger: Ledger) -> list[str]:
    """A few of each kind, but for refusals."""
    examples = ledger.whole.examples
    return [f"{kind}: {text}" for kind, texts in examples.items() if kind != "shed" for text in texts]


@contextmanager
def _watched(server: Server | None) -> Iterator[list[int]]:
    """Memory of the server, taken while something runs."""
    rss_bytes: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while server is not None and not over.wait(RSS_EVERY_S):
            rss_bytes.append(server.rss_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield rss_bytes
    finally:
        over.set()
        watching.join()


def growth(rss_bytes: list[int]) -> float:
    """Memory in the last fifth over that in the second, the most of each; not a number where there is too little."""
    fifth = len(rss_bytes) // 5
    return max(rss_bytes[-fifth:]) / max(rss_bytes[fifth : 2 * fifth]) if fifth else float("nan")


if __name__ == "__main__":
    try:
        sys.exit(loadtest(tyro.cli(Options, prog="python -m loadtests.traffic")))
    except (TrafficError, ModelyardError, OSError, RuntimeError) as cause:
        print(f"the load test could not be run: {cause}", file=sys.stderr)
        sys.exit(CANNOT_RUN)
