"""What `make monitoring-check` makes of answers; that it asks a real Prometheus is its own business."""

import json
from pathlib import Path

import pytest

from k8s.monitoring import check
from k8s.monitoring.check import Row, _judged, report
from k8s.monitoring.expressions import Expression
from k8s.monitoring.prometheus import Prometheus

PANEL = Expression("panel", "Latency A", "modelyard_x")


def test_a_query_without_data_is_wrong_unless_it_is_listed() -> None:
    assert _judged(PANEL, 0, "") == ["panel 'Latency A' has no data: modelyard_x"]
    assert _judged(PANEL, 0, "Nobody asks.") == []


def test_a_listed_query_that_gives_data_is_wrong() -> None:
    assert _judged(PANEL, 2, "") == []
    assert _judged(PANEL, 2, "Nobody asks.") == [
        "may-be-empty.yaml: panel 'Latency A' has data, so it need not be listed"
    ]


def test_warnings_of_prometheus_are_complaints_and_its_other_lines_are_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        'level=info msg="ready"\nlevel=warn component="scrape manager" msg="append failed"\n', encoding="utf-8"
    )
    assert Prometheus(1, log).complaints() == ['level=warn component="scrape manager" msg="append failed"']


def test_a_report_is_for_programs_and_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "REPORT", tmp_path)
    rows = [
        Row("panel", "Latency A", "modelyard_x", 2, 0.5, {"__name__": "modelyard_x", "model": "m"}),
        Row("alert", "Modelyard\nX", "up == 0", 0, None, {}, "All are up."),
    ]
    report(rows, {"seconds": 3}, ["a thing"])
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [one["query"] for one in written["queries"]] == ["modelyard_x", "up == 0"]
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| panel | Latency A | 2 | 0.5 | model=m |" in page
    assert "| alert | Modelyard X | 0 |  | All are up. |" in page
    assert "- a thing" in page
