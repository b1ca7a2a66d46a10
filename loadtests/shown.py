"""What the figures have to show, each beside its target: a judgement of one run on one machine, not a test.

Knows what was measured. Knows nothing of how.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loadtests.bench_models import PICTURE, TEXT, TINY
from loadtests.model_bench import SERVICE, LoadRow
from loadtests.overload import Overload
from loadtests.rounds import over
from loadtests.targets import Line, at_least, at_most

if TYPE_CHECKING:
    from loadtests.bench import Report

LATENCY_SHARE, THROUGHPUT_SHARE, TEXT_SHARE = 0.90, 0.95, 0.85
OVER_REFEREE_TINY, OVER_REFEREE_TEXT = 1.3, 1.2
PICTURE_SPREAD, TINY_SPREAD = 2.0, 4.0
ADDED_MS = 0.25
START_S, RSS_SHARE = 1.5, 1.3
OVERLOAD_SHARE, RECOVERED_SHARE, DEADLINE_SPREAD = 0.9, 0.9, 2.0
OVERLOAD_CODES = {200, 503, 504}


def shown(report: "Report") -> list[Line]:
    """Every target that was measured."""
    models = {model.name: {row.connections: row for row in model.loads} for model in report.models}
    lines = [*_picture(models.get(PICTURE, {})), *_tiny(models.get(TINY, {})), *_text(models.get(TEXT, {}))]
    for row in report.processes:
        what = f"{row.model}, {row.workers} processes: over (d) with as many"
        lines.append(at_least(what, OVER_REFEREE_TINY, row.over_referee))
    if report.start:
        start = report.start
        lines.append(at_most(f"start to ready, {start.num_models} models, s", START_S, start.service_s))
        share = start.service_rss_bytes / start.referee_rss_bytes
        lines.append(at_most("memory over the referee's with the same models", RSS_SHARE, share))
    if SERVICE in report.overload:
        lines += _overload(report.overload[SERVICE])
    if report.stop:
        lines.append(at_most("SIGTERM under load: requests without an answer", 0, len(report.stop.lost)))
        lines.append(at_most("SIGTERM under load: exit code", 0, report.stop.exit_code))
    return lines


def _spread(row: LoadRow) -> float:
    return over(row.service.p99_ms, row.service.p50_ms)


def _picture(rows: dict[int, LoadRow]) -> Iterator[Line]:
    if 1 in rows:
        yield at_least("picture, 1 connection: of (b), all processors on one", LATENCY_SHARE, rows[1].of_without_http)
    for number in (8, 32):
        if number in rows:
            yield at_least(f"picture, {number} connections: of (b)", THROUGHPUT_SHARE, rows[number].of_without_http)
            yield at_most(f"picture, {number} connections: p99 over p50", PICTURE_SPREAD, _spread(rows[number]))


def _tiny(rows: dict[int, LoadRow]) -> Iterator[Line]:
    if 32 in rows:
        yield at_least("tiny, 32 connections: over (d)", OVER_REFEREE_TINY, rows[32].over_referee)
        yield at_most("tiny, 32 connections: p99 over p50", TINY_SPREAD, _spread(rows[32]))
    if 1 in rows:
        added = rows[1].service.p50_ms - min(pace.p50_ms for pace in rows[1].without_http.values())
        yield at_most("tiny, 1 connection: time added to (b), ms", ADDED_MS, added)


def _text(rows: dict[int, LoadRow]) -> Iterator[Line]:
    if 32 in rows:
        yield at_least("text, 32 connections: of (b)", TEXT_SHARE, rows[32].of_without_http)
        yield at_least("text, 32 connections: over (d)", OVER_REFEREE_TEXT, rows[32].over_referee)


def _overload(one: Overload) -> Iterator[Line]:
    share = over(one.good_per_second, one.comfortable_per_second)
    yield at_least("overload: good answers over those at 32 connections", OVERLOAD_SHARE, share)
    yield at_most(
        "overload: p99 of the admitted over the deadline", DEADLINE_SPREAD, one.admitted_p99_ms / one.deadline_ms
    )
    recovered = over(one.recovered_per_second, one.comfortable_per_second)
    yield at_least("overload: speed one second after it, of what it was", RECOVERED_SHARE, recovered)
    yield at_most("overload: codes other than 200, 503, 504", 0, len(set(one.codes) - OVERLOAD_CODES))
    yield at_most("overload: requests without an answer, and wrong ones", 0, one.broken + one.wrong)
