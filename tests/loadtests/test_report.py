"""The tables fit a screen, and a target that is missed says so."""

from dataclasses import replace

import msgspec
import pytest

from loadtests.bench import Processes, Report, Start, num_faults
from loadtests.ceilings import Pace
from loadtests.model_bench import LoadRow, ModelRows
from loadtests.overload import Overload
from loadtests.report import print_report
from loadtests.shown import shown
from loadtests.stop import Stop
from loadtests.under_load import Checked
from loadtests.wrk import Figures

MAX_COLUMNS = 100
GOOD = Checked(45678.9, 0.0, 123.456, 234.567, 0, checked=40, wrong=0)


def row(connections: int) -> LoadRow:
    paces = {layout: Pace(98765.4, 0.01) for layout in ("1 x 1", "1 x 2", "1 x 2 spinning")}
    echo = Figures(123456.0, 0.0, 0.1, 0.2, 0)
    return LoadRow(connections, GOOD, GOOD, echo, paces, 0.123, 0.987, 0.456, 1.234)


def report() -> Report:
    paces = row(1).without_http | {"2 x 1": Pace(12345.6, 0.02)}
    return Report(
        machine="x86_64, 2 cores",
        cpus=2,
        seconds=2.0,
        rounds=3,
        models=[
            ModelRows(name, "int8", 50_000, 300, paces, tuple(map(row, (1, 8, 32, 200))))
            for name in ("tiny", "picture", "text")
        ],
        processes=[Processes("tiny", 2, 32, GOOD, GOOD, 1.25)],
        start=Start(5, 1.4, 0.9, 400 * 2**20, 350 * 2**20),
        overload={"service": Overload(200, 250, 250.0, 240.0, 900.0, 200.0, 260.0, 250.0, 0, 0, {200: 9, 503: 40})},
        stop=Stop(32, 1000, 30, {200: 1000}, 0, (), 0, 0.2),
    )


def test_the_tables_fit_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report())
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []
    assert any("(b) without HTTP, one at a time" in line for line in lines)


def test_every_target_is_judged() -> None:
    lines = {line.what: line for line in shown(report())}
    assert lines["picture, 32 connections: of (b)"].holds
    assert lines["text, 32 connections: over (d)"].holds
    assert not lines["tiny, 32 connections: over (d)"].holds
    assert not lines["tiny, 2 processes: over (d) with as many"].holds
    assert not lines["tiny, 1 connection: time added to (b), ms"].holds
    assert lines["overload: codes other than 200, 503, 504"].holds
    assert len(lines) == 20


def test_what_was_not_measured_is_not_judged() -> None:
    assert shown(Report("x86_64", 2, 1.0, 1)) == []


def test_the_report_is_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(report()))["models"][0]["loads"][0]["over_referee"] == 1.234


def test_wrong_and_lost_answers_fail_the_run_and_slow_ones_do_not() -> None:
    told = report()
    assert num_faults(told) == 0
    told.models[0] = replace(told.models[0], loads=(replace(row(1), service=replace(GOOD, wrong=2, broken=1)),))
    assert num_faults(told) == 3
    assert told.stop is not None
    told.stop = replace(told.stop, lost=("end of stream",))
    assert num_faults(told) == 4
