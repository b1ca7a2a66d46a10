"""The dashboard is the one of panels.py, is whole, and can be read by somebody who sees it for the first time."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.monitoring import expressions
from k8s.monitoring.panels import EVENTS, ROWS, VARIABLES

ROOT = Path(__file__).parents[2]
HERE = ROOT / "k8s/monitoring"
DOCUMENT: dict[str, Any] = json.loads((HERE / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in expressions.panels_of(DOCUMENT) if panel["type"] != "row"]


def test_it_is_what_the_builders_make_of_the_table() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="Grafana's builders, of the dev extra, make it")
    from k8s.monitoring.dashboard import text

    assert json.loads(text()) == DOCUMENT


def test_every_row_and_panel_of_the_table_is_there_once() -> None:
    assert [panel["title"] for panel in DOCUMENT["panels"] if panel["type"] == "row"] == list(ROWS)
    titles = [panel["title"] for panel in PANELS]
    assert titles == [panel.title for panels in ROWS.values() for panel in panels]
    assert len(set(titles)) == len(titles)
    ids = [panel["id"] for panel in DOCUMENT["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_why_in_what_unit_and_which_line_is_which(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    letters = [target["refId"] for target in panel["targets"]]
    assert letters
    assert len(set(letters)) == len(letters)
    for target in panel["targets"]:
        assert target["legendFormat"]
        expressions.filled(target["expr"], "1m")


def test_panels_lie_side_by_side_and_not_on_each_other() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    placed = [(panel["title"], cells(panel)) for panel in DOCUMENT["panels"]]
    assert all(x < 24 for _, cell in placed for x, _ in cell)
    assert [(one, other) for (one, its), (other, others) in combinations(placed, 2) if its & others] == []


def test_variables_are_the_source_and_what_queries_use() -> None:
    variables = {one["name"]: one for one in DOCUMENT["templating"]["list"]}
    assert list(variables) == ["datasource", *VARIABLES]
    for name in VARIABLES:
        assert variables[name]["includeAll"]
        assert variables[name]["allValue"] == ".*", "where a label is not there at all, everything is still shown"
        assert any(f"${name}" in target["expr"] for panel in PANELS for target in panel["targets"])


def test_marks_tell_when_a_version_or_a_release_came() -> None:
    assert [one["name"] for one in DOCUMENT["annotations"]["list"]] == [event.name for event in EVENTS]


def test_a_variable_that_nobody_fills_is_an_error() -> None:
    with pytest.raises(ValueError, match="a variable is left"):
        expressions.filled("up{x=~'$other'}", "1m")


def test_what_may_be_empty_exists_and_has_a_reason() -> None:
    listed = yaml.safe_load((HERE / "may-be-empty.yaml").read_text(encoding="utf-8"))
    there_are = {(one.kind, one.where) for one in (*expressions.of_rules(), *expressions.of_dashboard())} | {
        ("selector", text) for one in expressions.of_rules() for text in expressions.selectors(one.text)
    }
    assert listed.keys() == {"empty", "by_chance"}
    for kind, reasons in [pair for kinds in listed.values() for pair in kinds.items()]:
        assert {(kind, where) for where in reasons} <= there_are
        assert all(reason.endswith(".") for reason in reasons.values())
