"""Score on a Ray cluster: Ray Data hands shards to actors, and gives them to others where a node dies.

Every actor writes its shard's part and journal itself; here nothing is written, only counted and watched. Knows shards
and Ray. Knows nothing of models or of how a shard is scored.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import msgspec
import ray
import ray.data
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bundle import errors
from bundle.errors import ModelyardError, RunError
from runtime.cpus import available_cpus
from scoring.journal import Finished
from scoring.local import Told
from scoring.shard_scorer import Report, ShardScorer, Work
from scoring.shards import Shard, shards
from scoring.tally import Tally

EXECUTOR_ENDS_S = 10.0
CONNECT_S = 5.0
"""Ray itself would wait for minutes, and then end the process."""
TRIES = 10
"""Of one shard: nodes may die under it, but one that ends every process that computes it has to end the job as well."""
STORE_BYTES = 128 * 2**20
"""Of a cluster of its own on this machine: only plans and reports travel."""
LOOK_EVERY_S = 5.0


@dataclass(frozen=True)
class Wish:
    """Which cluster, and how much of it."""

    address: str = "auto"
    """"auto": the one this machine belongs to (or RAY_ADDRESS); "local": one of its own, on this machine alone."""
    actors: tuple[int, int] | None = None
    """At least, at most; None: as many as fit into the cluster as it is at the beginning."""


class Failure(msgspec.Struct, frozen=True):
    """An error that we foresaw, on its way from an actor."""

    kind: str
    message: str

    def __call__(self) -> ModelyardError:
        """The error itself."""
        kind: type[ModelyardError] = getattr(errors, self.kind)
        return kind(self.message)


class Desk:
    """Hands out the work, and counts how often each shard was begun: Ray itself would try for ever."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._begun: Counter[Shard] = Counter()

    def work(self) -> Work:
        """What is to be done."""
        return self._work

    def begin(self, shard: Shard) -> int:
        """Somebody begins a shard: how often that has happened."""
        self._begun[shard] += 1
        return self._begun[shard]


class ShardActor:
    """A ShardScorer whose errors travel as values: Ray would wrap them into its own, with all their stacks."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk
        self._failed: Failure | None = None
        try:
            self._score = ShardScorer(ray.get(desk.work.remote()))
        except ModelyardError as cause:
            self._failed = _failure(cause)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """One shard; its report or failure."""
        return {"said": msgspec.msgpack.encode(self._answer(msgspec.convert(row, Shard)))}

    def _answer(self, shard: Shard) -> tuple[Report | None, Failure | None]:
        if self._failed:
            return None, self._failed
        if ray.get(self._desk.begin.remote(shard)) > TRIES:
            return None, Failure("RunError", f"shard {shard.shard} of input file {shard.file} has ended the process "
                                 f"that computed it {TRIES} times (out of memory?); fewer --rows-per-shard or "
                                 "--workers may help")  # fmt: skip
        try:
            return self._score(shard), None
        except ModelyardError as cause:
            self._failed = _failure(cause)  # the job ends, and whatever was on its way here ends with the same words
            return None, self._failed


def _failure(cause: ModelyardError) -> Failure:
    return Failure(type(cause).__name__, str(cause))


class RayRunner:
    """Runs shards on the cluster that this process is connected to."""

    def __init__(self, work: Work, wish: Wish, told: Told) -> None:
        self._work = work
        self._wish = wish
        self._told = told

    def run(self, finished: Finished, tally: Tally, max_error_share: float) -> list[float]:
        """Have all shards that are left scored, and count them; milliseconds of every batch.

        Raises:
            TooManyErrors, DataError, DeviceLost ...: as they say; finished shards stay finished.
            RunError: Ray gave up.
        """
        batch_ms: list[float] = []
        todo = list(shards(self._work.source, self._work.cut, finished))
        if todo:
            nodes = _Nodes()
            with closing(self._reports(todo)) as reports:
                for report in reports:
                    tally.count(report.done, report.example)
                    batch_ms += report.batch_ms
                    self._told(report.done.num_scored, Counter(report.done.errors))
                    tally.hold(max_error_share, at_end=False)
                    nodes.look()
        tally.hold(max_error_share, at_end=True)
        return batch_ms

    def _reports(self, todo: Sequence[Shard]) -> Generator[Report, None, None]:
        """In whatever order shards are finished."""
        try:
            # Closed here and now: what a traceback still holds would go on working.
            with closing(iter(self._dataset(todo).iter_rows())) as rows:
                for row in rows:
                    report, failure = msgspec.msgpack.decode(row["said"], type=tuple[Report | None, Failure | None])
                    if report is None:
                        raise (failure or Failure("RunError", "an actor said nothing"))()
                    yield report
        except RayError as cause:
            raise RunError(f"Ray gave up: {_last_line(cause)}; the same command goes on; Ray's own words lie in "
                           "its logs (/tmp/ray/session_latest/logs on each node)") from None  # fmt: skip

    def _dataset(self, todo: Sequence[Shard]) -> Any:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context.execution_no_progress_timeout_s = -1  # a shard takes as long as it takes
        rows = ray.data.from_items([msgspec.structs.asdict(shard) for shard in todo], override_num_blocks=len(todo))
        fewest, most = self._wish.actors or (None, None)
        if fewest is None:
            fewest = most = min(len(todo), _places(self._work))
        _warn(self._work)
        actor: Any = ShardActor
        return rows.map(
            actor,
            fn_constructor_args=(_desk(self._work),),
            compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most, max_tasks_in_flight_per_actor=1),
            num_cpus=self._work.workers,
            num_gpus=1 if self._work.placement.device == "cuda" else None,
        )


def _desk(work: Work) -> Any:
    """On the node of this process, so that it lives as long."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk: Any = ray.remote(Desk)
    return desk.options(num_cpus=0, scheduling_strategy=here).remote(work)


class _Nodes:
    """Tells of nodes that die."""

    def __init__(self) -> None:
        self._alive = _alive()
        self._looked = time.monotonic()

    def look(self) -> None:
        """Now and then."""
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            alive = _alive()
            for lost in self._alive.keys() - alive.keys():
                _say(f"node {self._alive[lost]['NodeManagerHostname']} is gone; others do its shards again")
            self._alive = alive


def _alive() -> dict[str, dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node for node in nodes if node["Alive"]}


def _places(work: Work) -> int:
    """How many actors fit into the cluster."""
    wanted = {"CPU": work.workers} | ({"GPU": 1} if work.placement.device == "cuda" else {})
    there = [node["Resources"] for node in _alive().values()]
    fit = [min(int(resources.get(name, 0) // size) for name, size in wanted.items()) for resources in there]
    if not sum(fit):
        asked = " and ".join(f"{size} {name}" for name, size in wanted.items())
        _say(f"no node of the cluster has {asked}; waiting for one (fewer: --workers)")
    return max(1, sum(fit))


def _warn(work: Work) -> None:
    places = {"input": work.job.input, "output": str(work.target.output), "bundle": str(work.bundle.folder)}
    local = [f"{name} {path}" for name, path in places.items() if "://" not in path]
    number = len(_alive())
    if number > 1 and local:
        _say(f"{', '.join(local)}: {number} nodes have to see the same files there; each looks before it begins")


def _say(text: str) -> None:
    print(f"modelyard score: {text}", file=sys.stderr, flush=True)


def _last_line(cause: Exception) -> str:
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(cause).__name__


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Belong to a cluster, until this process ends or has another job; what Ray prints goes to standard error.

    Raises:
        RunError: no cluster answers there, or it is another Ray than this one.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells nobody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it tells this process's user of its own affairs
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(sys.stderr):
        _connect(address)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own there
        try:
            yield
        finally:
            _executors_end()


def end(code: int) -> None:
    """End this process with that code, if it belongs to a cluster; its job ends with it.

    Leaving in order (`ray.shutdown`) is no way out: where that takes longer than Ray allows itself, as it may under
    load, Ray ends the process, with 1 and without a word.
    """
    if ray.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _executors_end() -> None:
    """Wait for Ray Data's threads: what they hold of a job that has failed would go on working."""
    for thread in threading.enumerate():
        if thread.name.startswith("StreamingExecutor"):
            thread.join(EXECUTOR_ENDS_S)


def _connect(address: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"num_cpus": available_cpus(), "include_dashboard": False, "object_store_memory": STORE_BYTES}
    _knock(address)
    if ray.is_initialized():
        ray.shutdown()  # from an earlier job of this process
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as cause:
        raise RunError(f"--ray-address {address}: {_last_line(cause)}{_advice(cause)}") from None


def _knock(address: str) -> None:
    """Whether anybody listens there, as far as the address says where."""
    if address.startswith("ray://"):
        raise RunError(f"--ray-address {address}: Ray Data does not run through Ray's client; start this command on a "
                       "node of the cluster (`ray job submit`, a RayJob): there 'auto' finds it")  # fmt: skip
    host, colon, port = (os.environ.get("RAY_ADDRESS", "") if address == "auto" else address).rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        with closing(socket.create_connection((host.strip("[]"), int(port)), CONNECT_S)):
            return
    except OSError as cause:
        raise RunError(f"--ray-address {address}: nobody answers at {host}:{port}: {cause.strerror or cause}; is the "
                       "cluster there (ray status), and is this its address?") from None  # fmt: skip


def _advice(cause: Exception) -> str:
    if isinstance(cause, ConnectionError):
        return "; begin one with `ray start --head`, give its address, or 'local' for one on this machine alone"
    return "; run the job with the image that the cluster runs" if "ersion mismatch" in str(cause) else ""
