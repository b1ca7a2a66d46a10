"""PromQL of the rules and the dashboard, as texts: where each stands, and which figures and labels it names.

Not a parser of PromQL: names and matchers are found by their look, which is enough for ours, and tests hold it to that.
Knows the files beside it. Knows nothing of a running Prometheus.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent
RULES, DASHBOARD = HERE / "rules.yaml", HERE / "dashboard.json"

NAME = re.compile(r"\b((?:modelyard|nv_inference|scrape)[a-zA-Z_]*(?::[a-zA-Z_0-9:]+)?|up|ALERTS)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class Expression(NamedTuple):
    """One text of PromQL, and where it stands."""

    kind: str
    """panel, annotation, record or alert."""
    where: str
    text: str


def of_rules(path: Path = RULES) -> list[Expression]:
    """Every recording and alerting rule, in the order of the file."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    found = []
    for rule in (rule for group in groups for rule in group["rules"]):
        kind = "alert" if "alert" in rule else "record"
        labels = ",".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items() if kind == "record")
        found.append(Expression(kind, rule[kind] + (f"{{{labels}}}" if labels else ""), rule["expr"]))
    return found


def of_dashboard(path: Path = DASHBOARD) -> list[Expression]:
    """Every query of every panel, and of the annotations, with its variables as Grafana has them."""
    document = json.loads(path.read_text(encoding="utf-8"))
    panels = [
        Expression("panel", f"{panel['title']} {target['refId']}", target["expr"])
        for panel in panels_of(document)
        for target in panel.get("targets", ())
    ]
    marks = [Expression("annotation", one["name"], one["expr"]) for one in document["annotations"]["list"]]
    return panels + marks


def panels_of(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Panels, also those inside of rows."""
    for panel in document["panels"]:
        yield from panel.get("panels") or ()
        yield panel


def filled(text: str, interval: str) -> str:
    """A query as Grafana sends it where everything is selected."""
    for name, value in {"$__rate_interval": interval, "$namespace": ".*", "$model": ".*"}.items():
        text = text.replace(name, value)
    if "$" in text:
        raise ValueError(f"a variable is left in {text!r}: there are $namespace, $model and $__rate_interval")
    return text


def names(text: str) -> set[str]:
    """Series that a text asks for."""
    return {found[1] for found in NAME.finditer(_without_strings(text))}


def labels_of(text: str) -> dict[str, set[str]]:
    """Series -> the labels that its matchers name."""
    found: dict[str, set[str]] = {}
    for one in NAME.finditer(text):
        found.setdefault(one[1], set()).update(MATCHER.findall(one[2] or ""))
    return found


def grouped(text: str) -> set[str]:
    """Labels that aggregations and joins name."""
    inside = GROUPING.findall(_without_strings(text))
    return {label.strip() for one in inside for label in one.split(",") if label.strip()}


def selectors(text: str) -> list[str]:
    """Each series that a text asks for, with its matchers, as an instant query."""
    return list(dict.fromkeys(found[0] for found in NAME.finditer(text)))


def _without_strings(text: str) -> str:
    return STRING.sub('""', text)
