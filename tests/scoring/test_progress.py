"""Progress: a line now and then where there is no terminal, figures for Prometheus, a port that is taken."""

import socket
from collections import Counter

import pytest
from prometheus_client import generate_latest

from bundle.errors import RunError
from scoring import progress
from scoring.progress import Progress, shown


def test_lines_have_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", -1.0)
    told = Progress("m/1", 1000, 200)
    told(300, Counter(BadInput=3))
    line = capsys.readouterr().err
    assert line.startswith("m/1: 500 rows of 1000, ")
    assert "s left; " in line
    assert line.endswith("rows/s, 3 bad\n")
    unknown = Progress("m/1", None, 0)
    unknown(5, Counter())
    assert capsys.readouterr().err.startswith("m/1: 5 rows; ")


def test_figures() -> None:
    told = Progress("m/1", 1000, 200)
    told(300, Counter(BadInput=3, RuntimeFailed=1))
    text = generate_latest(told.registry).decode()
    assert 'modelyard_score_rows_total{model="m/1"} 300.0' in text
    assert 'modelyard_score_errors_total{cause="RuntimeFailed",model="m/1"} 1.0' in text
    assert 'modelyard_score_done_ratio{model="m/1"} 0.5' in text
    assert 'done_ratio{model="m/1"}' not in generate_latest(Progress("m/1", None, 0).registry).decode()


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:  # noqa: S104 - as the figures are served
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"--metrics-port {port}: "), shown(Progress("m", 1, 0), port, None, "job"):
            pass
