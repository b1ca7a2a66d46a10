"""`python -m loadtests.traffic` (`make loadtest`): models, a server of one's own, every shape, and the judgement.

Exit code 0: every demand is met; 1: one is not; 2: the test could not be run. Knows all of this package but what Locust
loads.
"""

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
from loadtests.traffic.run_locust import Ran, on_cpus, run_locust, show_page
from loadtests.traffic.thresholds import DEFAULT, ShapeDemands, judge_shape, read_thresholds

NOT_MET, CANNOT_RUN = 1, 2
CALM = "calm"
FULL_SPEED_USERS = 64
FULL_SPEED_S = 12
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
    api_key: str = ""
    """Its key."""
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
        capacity = options.rate or _full_speed(options, target)
        runs: list[ShapeRun] = []
        calm: Ledger | None = None
        for shape in dict.fromkeys((CALM, *options.shapes)):
            ran, one = _shape(options, target, shape, capacity, calm, demands.get(shape, ShapeDemands()))
            calm = calm or ran.ledger
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
    common |= {"api-key": options.api_key, "tls-ca": options.tls_ca} | dict(one.split("=", 1) for one in options.locust)
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


def _full_speed(options: Options, target: Target) -> float:
    """Good answers a second when so many users ask as fast as they are answered, the mix as it will be."""
    print("full speed", file=sys.stderr)
    run_time = max(FULL_SPEED_S * options.stretch, 6)
    more = {"users": FULL_SPEED_USERS, "spawn-rate": FULL_SPEED_USERS, "run-time": f"{run_time:.0f}s"}
    without = {name: value for name, value in target.options.items() if name != "timeout-ms"}
    ran = run_locust(
        options.out / "full-speed", without | more | {"pacing": "closed"}, users=["MixedUser"], cpus=target.cpus
    )
    measured = rate(ran.ledger)
    if not measured > 0:
        raise TrafficError(f"at full speed nothing was answered well: {_problems(ran.ledger) or 'no request was made'}")
    return measured


def _shape(
    options: Options, target: Target, shape: str, capacity: float, calm: Ledger | None, demands: ShapeDemands
) -> tuple[Ran, ShapeRun]:
    """One shape, between two looks at the server's counters."""
    print(f"{shape}: {PROFILES[shape].seconds * options.stretch:.0f} s of {capacity:.0f}/s", file=sys.stderr)
    highest = max(max(stage.first, stage.last) for stage in PROFILES[shape].stages)
    more = {
        "shape": shape,
        "rate": f"{capacity:.3f}",
        "rate-per-user": f"{capacity * highest / USERS_A_RATE:.4f}",
        "stretch": options.stretch,
    }
    before = scrape(target.url + "/metrics", options.api_key)
    with _watched(target.server) as rss_bytes:
        ran = run_locust(options.out / shape, target.options | more, cpus=target.cpus)
    after = scrape(target.url + "/metrics", options.api_key)
    ledger = ran.ledger
    whole = family_measures(ledger.whole, calm.whole if calm else ledger.whole)
    whole |= {
        "goodput_share": rate(ledger) / capacity,
        "p99_over_deadline": ledger.whole.from_sent.percentile(0.99) / options.deadline_ms,
        "lag_p99_ms": ledger.lag.percentile(0.99),
        "recovery_s": recovery_s(ledger, PROFILES[shape].stretched(options.stretch)),
        "unaccounted": apart(before, after, ledger) + abs(locust_total(ran.stats_json) - ledger.ended.total()),
        "rss_growth": growth(rss_bytes),
    }
    families = {name: family_measures(ledger.of(name), (calm or ledger).of(name)) for name in sorted(ledger.families)}
    one = ShapeRun(
        shape,
        rate(ledger),
        whole,
        families,
        judge_shape(shape, demands, whole, families),
        dict(ledger.whole.outcomes),
        dict(ledger.whole.codes),
        _problems(ledger),
        differences(before, after, ledger),
    )
    return ran, one


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
