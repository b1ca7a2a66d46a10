"""The tables of `make bench`, readable at a hundred columns, and what the figures show.

Knows what was measured. Knows nothing of how.
"""

from typing import TYPE_CHECKING

from loadtests.ceilings import Pace
from loadtests.model_bench import LoadRow, ModelRows
from loadtests.overload import Overload
from loadtests.shown import shown

if TYPE_CHECKING:
    from loadtests.bench import Report


def print_report(report: "Report") -> None:
    """To standard output."""
    print(
        f"\n{report.machine}; medians of {report.rounds} rounds of {report.seconds:g} s; {report.took_s:.0f} s in all"
    )
    for model in report.models:
        _print_model(model)
    if report.processes:
        print("\nprocesses           conns   ours/s     p50     p99    (d)/s     p50     p99 over (d)")
    for row in report.processes:
        ours, other = row.service, row.referee
        print(
            f"  {row.model:<12} x {row.workers:<3} {row.connections:>5} {_rate(ours.per_second)} {_ms(ours.p50_ms)} "
            f"{_ms(ours.p99_ms)} {_rate(other.per_second)} {_ms(other.p50_ms)} {_ms(other.p99_ms)} "
            f"{row.over_referee:>8.2f}"
        )
    if report.start:
        start = report.start
        print(
            f"\nstart to ready with {start.num_models} models: {start.service_s:.2f} s "
            f"(referee {start.referee_s:.2f} s); memory {_mib(start.service_rss_bytes)} "
            f"(referee {_mib(start.referee_rss_bytes)})"
        )
    for name, one in report.overload.items():
        _print_overload(name, one)
    if report.stop:
        stop = report.stop
        why = f" ({', '.join(sorted(set(stop.lost)))})" if stop.lost else ""
        print(
            f"\nSIGTERM under {stop.connections} connections: {stop.after_the_signal} answers after it, "
            f"{len(stop.lost)} lost{why}, {stop.wrong} wrong, exit code {stop.exit_code} after {stop.took_s:.2f} s"
        )
    _print_shown(report)


def _print_model(model: ModelRows) -> None:
    print(f"\n{model.name} ({model.artefact}): {model.body_bytes} bytes in, {model.answer_bytes} out")
    print(f"  (a) engine alone:  {_paces(model.engine_alone)}")
    for row in model.loads:
        if row.connections in (1, 8):
            kind = "one at a time" if row.connections == 1 else "at full speed"
            print(f"  (b) without HTTP, {kind}:  {_paces(row.without_http)}")
    print(" conns   ours/s     p50     p99    (d)/s     p50     p99    (c)/s of (a) of (b) of (c) over (d)")
    for row in model.loads:
        _print_load(row)


def _print_load(row: LoadRow) -> None:
    ours, other, echo = row.service, row.referee, row.echo
    ratios = (row.of_engine, row.of_without_http, row.of_echo)
    refused = f"  refused {ours.refused_per_second:.0f}/s" if ours.refused_per_second else ""
    wrong = f"  WRONG {ours.wrong}" if ours.wrong else ""
    broken = f"  BROKEN {ours.broken}" if ours.broken else ""
    print(
        f"{row.connections:>6} {_rate(ours.per_second)} {_ms(ours.p50_ms)} {_ms(ours.p99_ms)} "
        f"{_rate(other.per_second)} {_ms(other.p50_ms)} {_ms(other.p99_ms)} {_rate(echo.per_second)} "
        f"{' '.join(f'{ratio:>6.3f}' for ratio in ratios)} {row.over_referee:>8.2f}"
    )
    if refused or wrong or broken:
        print(f"       {refused}{wrong}{broken}")


def _print_overload(name: str, one: Overload) -> None:
    print(
        f"\noverload, {name}: {one.connections} connections, deadline {one.deadline_ms:.0f} ms: "
        f"{one.good_per_second:.0f} good/s of {one.comfortable_per_second:.0f} at 32, "
        f"{one.refused_per_second:.0f} refused/s\n"
        f"  admitted p50 {one.admitted_p50_ms:.0f} ms, p99 {one.admitted_p99_ms:.0f} ms; one second later "
        f"{one.recovered_per_second:.0f}/s\n  codes {one.codes}; {one.broken} broken, {one.wrong} wrong"
    )


def _print_shown(report: "Report") -> None:
    print(f"\n{'what it must show':<66} {'target':>10} {'measured':>10}")
    for line in shown(report):
        print(f"{line.what:<66} {line.target:>10} {line.measured:>10} {'yes' if line.holds else 'NO'}")


def _paces(paces: dict[str, Pace]) -> str:
    return "  ".join(f"{layout} {pace.per_second:.0f}/s" for layout, pace in paces.items())


def _mib(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


def _rate(value: float) -> str:
    return f"{value:>8.0f}" if value >= 1000 else f"{value:>8.1f}"


def _ms(value: float) -> str:
    return f"{value:>7.2f}" if value < 100 else f"{value:>7.0f}"
