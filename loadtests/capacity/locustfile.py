"""The users of loadtests/traffic on one model, raw bodies only, in steps; each step with a ledger of its own.

Run by Locust, as `python -m loadtests.capacity measure` starts it. Knows traffic's users and Locust's events.
"""

import json
import logging
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import gevent
from locust import events

from loadtests.capacity.step_book import Moment, StepBook, to_plain
from loadtests.traffic.case import Case
from loadtests.traffic.families import RAW
from loadtests.traffic.locustfile import (
    AnomalyUser,
    ClassifyUser,
    DetectUser,
    SegmentUser,
    SeriesUser,
    Step,
    TextClassifyUser,
    TextEmbedUser,
)
from loadtests.traffic.pacing import now
from loadtests.traffic.profiles import parse_steps

__all__ = [
    "AnomalyUser",
    "ClassifyUser",
    "DetectUser",
    "SegmentUser",
    "SeriesUser",
    "Step",
    "TextClassifyUser",
    "TextEmbedUser",
]

log = logging.getLogger("modelyard.loadtest")


class Run:
    """This process."""

    book: StepBook | None = None
    moments: list[tuple[Moment, Moment]]
    file: str = ""


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Ours, on top of traffic's."""
    parser.add_argument("--step-file", default="", help="File for a ledger a step, as JSON")


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:
    """Comes after traffic's own start, which has made the cases."""
    traffic, options = environment.traffic, environment.parsed_options
    whole = traffic.forms

    def raw(family: str) -> list[list[Case]]:
        return [kept for form in whole(family) if (kept := [case for case in form if case.form == RAW])]

    traffic.forms = raw
    Run.book = traffic.ledger = StepBook(now(), options.step_s, len(parse_steps(options.steps)))
    Run.moments, Run.file = [], options.step_file
    gevent.spawn(_watch, traffic, Run.book)


def _watch(traffic: Any, book: StepBook) -> None:
    for step in range(len(book.ledgers)):
        seen = []
        for moment in book.bounds(step):
            gevent.sleep(max(0.0, moment - now()))
            usage = resource.getrusage(resource.RUSAGE_SELF)
            at, busy_s = now(), usage.ru_utime + usage.ru_stime
            seen.append(Moment(at, busy_s, traffic.asker.get("/metrics").body.decode()))
        Run.moments.append((seen[0], seen[1]))


@events.quit.add_listener
def end(exit_code: int) -> None:
    """Write it down, with what was answered after the last step too."""
    if Run.book is None or not Run.file:
        log.error("nothing to write: %s", "no --step-file" if Run.book else "the test did not start")
        return
    Path(Run.file).write_text(json.dumps(to_plain(Run.book, Run.moments)) + "\n", encoding="utf-8")
