"""One model in one pod on one processor: what it can do at most, and what it does at each of several rates.

The server has a processor to itself (taskset), Locust or wrk the other one. Knows the parts of loadtests and joins them
here. Knows nothing of clusters.
"""

import http.client
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.store import Bundle, newest, open_bundle
from loadtests.capacity.figures import Model, Step
from loadtests.capacity.one_processor import Apart, on
from loadtests.capacity.predicted import with_predictions
from loadtests.capacity.scraped import Batches, batches
from loadtests.capacity.step_book import SETTLE_S, SeenStep, from_plain
from loadtests.ceilings import Layout, engine, measure
from loadtests.golden import golden_path
from loadtests.server import ROOT, Server, free_port, ready
from loadtests.traffic.families import FAMILIES
from loadtests.wrk import Figures, Target, drive_hard
from runtime.predictor import load_predictor
from serving.batching.layout import is_small
from serving.settings import Settings

SHARES = (0.15, 0.3, 0.5, 0.65, 0.8, 0.95, 1.2)
"""Of the rate at saturation; the last one is an overload."""
LIMIT_OVER_ALONE = 5
"""The limit of p99 that a model is held to, over what one request alone takes: room for four others in front."""
ENOUGH = 600
"""Requests of a step at half of the rate, so that its p99 is that of six or more."""
SHORTEST_S, LONGEST_S = 3.0, 10.0
GENERATOR_MOST = 2000.0
"""About what Locust can ask for in a second on one processor; quicker models are stepped up to a fifth over it."""
QUEUE_S = 0.25
"""How long a full queue takes: an overload has to fill it within a step."""
CONNECTIONS = 32
CLOSED_S = 3.0
ALONE_S = 1.5
ENGINE_S = 1.0
WARM_UP_S = 1.0
USERS = 40
LOCUST_LIMIT_S = 300.0


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    folder: Path
    """<repository>/<name>."""
    bundle: Bundle
    target: Target
    """Its golden inputs."""

    @property
    def family(self) -> str:
        """As traffic calls it."""
        return next(name for name, family in FAMILIES.items() if family.task == self.bundle.manifest.task)


def subject(folder: Path) -> Subject:
    """The newest version of a model.

    Raises:
        BundleError: it cannot be trusted.
    """
    bundle = open_bundle(newest(folder))
    samples = bundle.golden()
    bodies = [sample.raw for sample in samples]
    return Subject(folder, bundle, Target(0, golden_path(bundle.manifest), samples[0].media_type, bodies))


def measure_model(one: Subject, apart: Apart) -> Model:
    """Everything that is known of it, with what the simulation says to the same steps."""
    manifest = one.bundle.manifest
    say(f"{manifest.name}: at most, and alone")
    with _alone_in(one.folder) as repository, on(apart.generator):
        with _served(repository, apart) as server:
            alone, most, listed = _closed(one, server)
            ready_s = server.ready_s
        rate = min(most.per_second, GENERATOR_MOST)
        max_queue = max(16, math.ceil(QUEUE_S * most.per_second))
        seconds = SETTLE_S + min(LONGEST_S, max(SHORTEST_S, ENOUGH / (0.5 * rate)))
        say(f"{manifest.name}: alone {alone.p50_ms:.2f} ms, at most {most.per_second:.1f}/s; {len(SHARES)} steps")
        with _served(repository, apart, f"--max-queue={max_queue}") as server:
            drive_hard(_at(one, server), CONNECTIONS, WARM_UP_S)
            before = _page(server)
            seen = _stepped(one, repository, server, rate, seconds)
            whole = batches(_page(server), before)
            again = drive_hard(_at(one, server), CONNECTIONS, CLOSED_S)
            memory = server.rss_bytes()
    with on(apart.pod):
        engine_rate = _engine(one)
    artefact = str(listed["artefact"])
    latency = manifest.artefacts[artefact].evidence
    return with_predictions(
        Model(
            name=manifest.name,
            task=manifest.task,
            sent=_sent(one),
            artefact=artefact,
            limit_ms=_round_up(LIMIT_OVER_ALONE * alone.p50_ms),
            alone_ms=alone.p50_ms,
            saturated_per_second=most.per_second,
            saturated_again_per_second=again.per_second,
            saturated_connections=CONNECTIONS,
            engine_per_second=engine_rate,
            here=is_small(latency.latency, Settings.model_fields["here_ms"].default) if latency else False,
            largest_batch=int(listed["largest_batch"]),
            max_queue=max_queue,
            batch_ms=_table(whole),
            memory_mib=memory / 2**20,
            ready_s=ready_s,
            steps=tuple(step(one_seen, share * rate) for one_seen, share in zip(seen, SHARES, strict=True)),
        )
    )


def step(seen: SeenStep, asked: float) -> Step:
    """A step as it is kept."""
    whole = seen.ledger.whole
    outcomes: Counter[str] = whole.outcomes
    rows: Batches = batches(seen.end.metrics, seen.begin.metrics)
    return Step(
        asked_per_second=asked,
        sent_per_second=outcomes.total() / seen.seconds,
        answered_per_second=outcomes["good"] / seen.seconds,
        p50_ms=_or_zero(whole.times.percentile(0.5)),
        p99_ms=_or_zero(whole.times.percentile(0.99)),
        shed=outcomes["shed"],
        failed=outcomes["failed"] + outcomes["wrong"] + outcomes["unanswered"],
        requests=outcomes.total(),
        mean_batch=rows.mean_rows,
        generator_busy=seen.generator_busy,
    )


def _closed(one: Subject, server: Server) -> tuple[Figures, Figures, dict[str, Any]]:
    target = _at(one, server)
    drive_hard(target, 1, WARM_UP_S)
    alone = drive_hard(target, 1, ALONE_S)
    drive_hard(target, CONNECTIONS, WARM_UP_S)
    most = drive_hard(target, CONNECTIONS, CLOSED_S)
    (listed,) = json.loads(_get(server, "/v1/models"))["models"]
    return alone, most, listed


def _stepped(one: Subject, repository: Path, server: Server, rate: float, seconds: float) -> list[SeenStep]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "steps.json"
        command = [
            *(sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py"))),
            *("--headless", "--only-summary", "--loglevel", "WARNING", "--stop-timeout", "60"),
            *("--host", f"http://127.0.0.1:{server.port}", "--bundles", str(repository)),
            *("--families", one.family, "--shape", "step", "--rate", str(rate), "--rate-per-user", str(rate / USERS)),
            *("--steps", ",".join(map(str, SHARES)), "--step-s", str(seconds), "--step-file", str(file)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOCUST_LIMIT_S, check=False, cwd=ROOT)
        if not file.is_file():
            raise RuntimeError(f"Locust ended with {done.returncode} and wrote no steps:\n{done.stdout}{done.stderr}")
        return from_plain(json.loads(file.read_bytes()))


def _engine(one: Subject) -> float:
    predictor = load_predictor(one.bundle)
    rows = [predictor.prepare(body).tensors for body in one.target.bodies]
    layout = Layout(1, 1)
    work = engine(one.bundle.folder, rows, layout)
    measure(work, layout, WARM_UP_S / 2)
    return measure(work, layout, ENGINE_S).per_second


@contextmanager
def _alone_in(folder: Path) -> Iterator[Path]:
    """A repository with nothing but this model."""
    with tempfile.TemporaryDirectory() as repository:
        Path(repository, folder.name).symlink_to(folder.resolve(), target_is_directory=True)
        yield Path(repository)


@contextmanager
def _served(repository: Path, apart: Apart, *flags: str) -> Iterator[Server]:
    port = free_port()
    command = ["taskset", "-c", str(apart.pod), sys.executable, "-m", "serving", str(repository), "--port", str(port)]
    server = Server("the service", port, "/v2/health/ready", [*command, "--poll-s", "0", *flags])
    with ready(server):
        yield server


def _at(one: Subject, server: Server) -> Target:
    target = one.target
    return Target(server.port, target.path, target.media_type, target.bodies)


def _page(server: Server) -> str:
    return _get(server, "/metrics").decode()


def _get(server: Server, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _table(whole: Batches) -> dict[int, float]:
    """Sizes that were seen often enough for a mean; at least the commonest."""
    often = whole.mean_ms(least=20)
    return often or whole.mean_ms()


def _sent(one: Subject) -> str:
    sizes = sorted(map(len, one.target.bodies))
    return f"{one.target.media_type}, {sizes[0]} to {sizes[-1]} bytes"


def _round_up(ms: float) -> float:
    """To one digit: 61 -> 70, 2.3 -> 3."""
    unit = 10.0 ** math.floor(math.log10(ms))
    return float(f"{math.ceil(ms / unit) * unit:.6g}")


def _or_zero(ms: float) -> float:
    """A step without a single good answer has no times."""
    return 0.0 if math.isnan(ms) else ms


def say(text: str) -> None:
    """To a person who waits."""
    print(text, file=sys.stderr, flush=True)
