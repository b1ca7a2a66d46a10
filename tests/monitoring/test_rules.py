"""The rules name what there is, say what they must, and are tested; promtool runs their own tests."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from k8s.monitoring import expressions
from serving.endpoints import ENDPOINTS
from serving.http import openai
from serving.observing.families import SECONDS
from serving.observing.psi import SERIOUS
from serving.oip import infer
from serving.repository.shelf import RETRY_S
from tests.monitoring.figures_there_are import TARGET, recorded, series

ROOT = Path(__file__).parents[2]
HERE = ROOT / "k8s/monitoring"
RULES = [
    rule
    for group in yaml.safe_load((HERE / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
TEST_FILES = ("rules.test.yaml", "rules-slow.test.yaml")
TESTS = [test for name in TEST_FILES for test in yaml.safe_load((HERE / name).read_text(encoding="utf-8"))["tests"]]
ASKED = [*(endpoint.path for endpoint in ENDPOINTS.values()), openai.PATH, infer.TEMPLATE]
NOT_ASKED = ["/metrics", "/v2/health/ready", "/v1/models", "/v1/models/{name}/canary", "/v2/models/{name}", "other"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    return subprocess.run(["promtool", *arguments], cwd=HERE, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("one", [*expressions.of_rules(), *expressions.of_dashboard()], ids=lambda one: one.where)
def test_every_series_and_label_that_is_asked_for_exists(one: expressions.Expression) -> None:
    there_are, made = series(), recorded()
    named = expressions.names(one.text)
    assert named or one.where.startswith("modelyard:slo_objective"), "nothing is asked for"
    assert named - there_are.keys() - made == set()
    known = TARGET | {"slo", "model", "version"} | set().union(*(there_are.get(name, set()) for name in named))
    for name, labels in expressions.labels_of(one.text).items():
        assert labels - (there_are[name] | TARGET if name in there_are else known | {"slo"}) == set(), name
    assert expressions.grouped(one.text) - known == set()


def test_the_prometheusrule_is_the_rule_file() -> None:
    made = yaml.safe_load((HERE / "prometheusrule.yaml").read_text(encoding="utf-8"))
    assert made["kind"] == "PrometheusRule"
    assert [rule for group in made["spec"]["groups"] for rule in group["rules"]] == RULES


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert re.fullmatch(r"Modelyard[A-Z][A-Za-z]+", name)
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    notes = alert["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert "$value" in notes["summary"] + notes["description"], "nobody knows how much"
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    page = ROOT / notes["runbook_url"]
    assert page.read_text(encoding="utf-8").startswith(f"# {name}\n")
    assert page.stem == name


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_test_where_it_fires_and_one_where_it_nearly_does(name: str) -> None:
    fires = [test for test in TESTS if test["name"].startswith(f"{name} fires: ")]
    silent = [test for test in TESTS if test["name"].startswith(f"{name} is silent: ")]
    assert fires
    assert silent
    for test in fires:
        (case,) = test["alert_rule_test"]
        assert case["alertname"] == name
        assert case["exp_alerts"], test["name"]
    for test in silent:
        (case,) = test["alert_rule_test"]
        assert (case["alertname"], case["exp_alerts"]) == (name, []), test["name"]


def test_every_test_says_all_that_may_fire() -> None:
    for test in TESTS:
        (case,) = test["promql_expr_test"]
        assert case["expr"].startswith("count by (alertname) (count_over_time(ALERTS"), test["name"]
        named = set(re.findall(r'alertname="(\w+)"', json.dumps(case["exp_samples"]).replace("\\", "")))
        assert named <= ALERTS.keys()
        assert (test["name"].split()[0] in named) or " is silent: " in test["name"]


def test_no_word_of_an_alert_has_a_hole() -> None:
    for case in (case for test in TESTS for case in test["alert_rule_test"]):
        texts = " ".join(ALERTS[case["alertname"]]["annotations"].values())
        wanted = set(re.findall(r"\$labels\.(\w+)", texts))
        for expected in case["exp_alerts"]:
            there = set(expected["exp_labels"])
            optional = {"uuid"} if case["alertname"] == "ModelyardGpuGone" else set()
            assert wanted - there - optional == set(), case["alertname"]


def test_promtool_finds_nothing_wrong() -> None:
    checked = promtool("check", "rules", "rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


@pytest.mark.timeout(300)
@pytest.mark.whole
def test_every_alert_fires_where_it_must_and_is_silent_where_it_nearly_does() -> None:
    """Those of days, in the other file, take as long again: `make monitoring-check` runs both."""
    done = promtool("test", "rules", TEST_FILES[0])
    assert done.returncode == 0, done.stdout + done.stderr


def routes(text: str) -> list[str]:
    return re.findall(r'route=~"([^"]+)"', text)


def test_the_objectives_are_about_questions_to_models_and_about_all_of_them() -> None:
    patterns = {pattern for rule in RULES for pattern in routes(rule["expr"])}
    panels = {pattern for one in expressions.of_dashboard() for pattern in routes(one.text)}
    assert len(patterns) == 2, "with streams and without"
    assert panels <= patterns
    for pattern in patterns:
        assert [route for route in (*ASKED, "grpc:ModelInfer") if not re.fullmatch(pattern, route)] == []
        assert [route for route in (*NOT_ASKED, "grpc:ServerReady") if re.fullmatch(pattern, route)] == []
    assert [bool(re.fullmatch(pattern, "grpc:ModelStreamInfer")) for pattern in sorted(patterns, key=len)] == [
        False,
        True,
    ]


def test_the_latency_objective_is_an_edge_of_the_histogram() -> None:
    edges = {float(edge) for rule in RULES for edge in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert len(edges) == 1
    assert edges <= set(SECONDS)


def test_numbers_of_the_rules_are_the_codes() -> None:
    assert f"> {SERIOUS}" in ALERTS["ModelyardAnswersDrift"]["expr"]
    assert RETRY_S < 15 * 60, "a refused version is tried again within the window of ModelyardLoadFailures"


def test_a_name_that_does_not_exist_would_be_found() -> None:
    one = expressions.Expression("alert", "x", 'rate(modelyard_nonsense_total{model="a"}[5m]) > 0')
    assert expressions.names(one.text) - series().keys() - recorded() == {"modelyard_nonsense_total"}
    assert expressions.labels_of('modelyard_shed_total{modle=~"a"}') == {"modelyard_shed_total": {"modle"}}
    assert expressions.grouped("sum by (model, slot) (x) / on (instance) group_left () y") == {
        "model",
        "slot",
        "instance",
    }
