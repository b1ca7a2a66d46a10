"""The kinds of the Prometheus operator: schemas that refuse what is misspelt, ports and labels that others have."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
HERE = ROOT / "k8s/monitoring"
KINDS = {
    "servicemonitor": "servicemonitor.yaml",
    "podmonitor": "podmonitor.yaml",
    "prometheusrule": "prometheusrule.yaml",
}


def document(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HERE / KINDS[kind]).read_text(encoding="utf-8"))
    return found


def problems(kind: str, what: dict[str, Any]) -> list[str]:
    schema = json.loads((ROOT / f"k8s/schemas/{kind}.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return [one.message for one in Draft7Validator(schema).iter_errors(what)]


def inner(node: Any) -> list[dict[str, Any]]:
    """Every mapping of a document that has fields of its own, not labels."""
    if isinstance(node, list):
        return [found for one in node for found in inner(one)]
    if not isinstance(node, dict):
        return []
    own = [found for name, value in node.items() if name not in ("labels", "matchLabels") for found in inner(value)]
    return [node, *own]


@pytest.mark.parametrize("kind", KINDS)
def test_ours_are_valid_and_a_misspelt_field_is_found_wherever_it_is(kind: str) -> None:
    assert problems(kind, document(kind)) == []
    for number in range(len(inner(document(kind)))):
        broken = copy.deepcopy(document(kind))
        inner(broken)[number]["intervall"] = "15s"
        assert problems(kind, broken), f"mapping {number} takes any field"


@pytest.mark.parametrize("missing", ["severity", "summary", "runbook_url"])
def test_an_alert_without_what_it_must_say_is_refused(missing: str) -> None:
    rule = document("prometheusrule")
    alert = next(one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one)
    alert["labels"].pop(missing, None)
    alert["annotations"].pop(missing, None)
    assert problems("prometheusrule", rule)


def test_scoring_jobs_are_scraped_at_ports_that_their_pods_have() -> None:
    pods = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "k8s/batch").rglob("*.yaml"))
    for endpoint in document("podmonitor")["spec"]["podMetricsEndpoints"]:
        assert f"name: {endpoint['port']}, containerPort: 9100" in pods
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "modelyard-batch"}]


def test_the_service_is_scraped_at_its_port_for_metrics_under_the_name_that_the_rules_know() -> None:
    spec = document("servicemonitor")["spec"]
    assert spec["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "modelyard",
        "app.kubernetes.io/component": "serving",
    }
    assert spec["jobLabel"] == "app.kubernetes.io/name"
    assert [endpoint["port"] for endpoint in spec["endpoints"]] == ["metrics"]
    assert 'up{job="modelyard"}' in (HERE / "rules.yaml").read_text(encoding="utf-8")
