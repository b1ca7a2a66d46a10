"""What `locust -f loadtests/traffic/locustfile.py` loads: options, users and shapes, joined to Locust's events.

The one module of this package that is not imported but run by Locust, which has patched the standard library by then;
gRPC is told to wait gevent's way here, before any channel. Knows everything of this package.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # `locust` itself is started from anywhere

import gevent
from grpc.experimental import gevent as grpc_gevent
from locust import events
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import CSV_STATS_INTERVAL_SEC

from loadtests.traffic.families import TrafficError
from loadtests.traffic.ledger import Ledger
from loadtests.traffic.options import add_options
from loadtests.traffic.shapes import Chosen, Overload, Ramp, Soak, Spike, Steady, Step
from loadtests.traffic.traffic import Traffic
from loadtests.traffic.users import (
    USERS,
    AnomalyUser,
    ClassifyUser,
    DetectUser,
    GrpcUser,
    MixedUser,
    OipUser,
    OpenAiUser,
    SegmentUser,
    SeriesUser,
    TextClassifyUser,
    TextEmbedUser,
)

__all__ = [
    "AnomalyUser",
    "Chosen",
    "ClassifyUser",
    "DetectUser",
    "GrpcUser",
    "MixedUser",
    "OipUser",
    "OpenAiUser",
    "Overload",
    "Ramp",
    "SegmentUser",
    "SeriesUser",
    "Soak",
    "Spike",
    "Steady",
    "Step",
    "TextClassifyUser",
    "TextEmbedUser",
]

CANNOT_RUN = 2
"""Exit code where the load test itself could not be run; Locust's own 1 says that requests failed."""
KEY = "modelyard"

grpc_gevent.init_gevent()
log = logging.getLogger("modelyard.loadtest")


class Process:
    """This process of Locust: what it drives with, and what was seen so far."""

    environment: Any = None
    traffic: Traffic | None = None
    seen = Ledger()
    """Of a worker only what it has not reported yet."""


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Ours."""
    add_options(parser)


@events.init.add_listener
def begin(environment: Any, **_: Any) -> None:
    """Choose the users: those whose family is driven. A page may still change the address, so it may be missing."""
    Process.environment = environment
    if isinstance(environment.runner, WorkerRunner) or (environment.web_ui is not None and not environment.host):
        return  # a worker's options come from its master, with the first users
    try:
        traffic = Traffic(environment.parsed_options)
        if not isinstance(environment.runner, MasterRunner):
            traffic.make_cases()
    except TrafficError as cause:
        log.error("%s", cause)
        sys.exit(CANNOT_RUN)
    log.info("%s", traffic.told())
    for name, weight in traffic.weights.items():
        USERS[name].weight = weight
    named = {
        user for user in environment.user_classes if user.__name__ in (environment.parsed_options.user_classes or ())
    }
    picked = [user for user in environment.user_classes if user.family in traffic.weights or user in named]
    if not picked:
        log.error("none of the users that were named asks a family that is driven")
        sys.exit(CANNOT_RUN)
    environment.user_classes = picked


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:
    """Look again at what is served, with the options as they are now, and write the requests."""
    Process.seen = Ledger()
    if isinstance(environment.runner, MasterRunner):
        return
    environment.parsed_options.host = environment.host  # a worker's comes from its master, a page's from its form
    try:
        Process.traffic = Traffic(environment.parsed_options)
        Process.traffic.make_cases()
    except TrafficError as cause:
        log.error("%s", cause)
        environment.process_exit_code = CANNOT_RUN
        environment.runner.quit()
        return
    Process.traffic.ledger = Process.seen
    environment.traffic = Process.traffic


@events.test_stop.add_listener
def rest(environment: Any, **_: Any) -> None:
    """Locust writes its tables in CSV once a second, and not at the end: let it, once everything has been answered."""
    if environment.parsed_options.csv_prefix:
        gevent.sleep(1.2 * CSV_STATS_INTERVAL_SEC)


@events.report_to_master.add_listener
def report(client_id: str, data: dict[str, Any]) -> None:
    """A worker's ledger since its last report."""
    data[KEY] = Process.seen.to_plain()
    Process.seen = Ledger()
    if Process.traffic is not None:
        Process.traffic.ledger = Process.seen


@events.worker_report.add_listener
def hear(client_id: str, data: dict[str, Any]) -> None:
    """On the master."""
    if KEY in data:
        Process.seen.add(Ledger.from_plain(data[KEY]))


@events.quitting.add_listener
def check_anything(environment: Any, **_: Any) -> None:
    """A run without a single request is no pass, whatever became of the workers."""
    headless = environment.parsed_options.headless and not isinstance(environment.runner, WorkerRunner)
    if headless and not Process.seen.series and environment.process_exit_code is None:
        log.error("no request was made: did the workers end, and what did they say?")
        environment.process_exit_code = CANNOT_RUN


@events.quit.add_listener
def end(exit_code: int) -> None:
    """Write the ledger down, once everything is in it."""
    environment = Process.environment
    if environment is None or isinstance(environment.runner, WorkerRunner) or not environment.parsed_options.ledger:
        return
    path = Path(environment.parsed_options.ledger)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(Process.seen.to_plain()) + "\n", encoding="utf-8")
