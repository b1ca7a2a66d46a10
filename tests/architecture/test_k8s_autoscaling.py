"""What autoscalers ask for is measured by the service; their queries say what is meant, in Prometheus' evaluator."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from k8s import queries
from serving.endpoints import ENDPOINTS
from serving.http import openai
from serving.http.metrics_port import METRICS
from serving.observing.families import Families
from serving.oip import infer
from serving.oip.health import LIVE, READY
from serving.settings import Settings
from tests.architecture.manifests import Document, Tree, built, needs_kubectl, of_kind

FAMILIES = Families(CollectorRegistry()).table
ADAPTER = "autoscaling/prometheus-adapter"
pytestmark = needs_kubectl
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)"
)


def hpa() -> Document:
    (found,) = of_kind(built("cpu-full"), "HorizontalPodAutoscaler")
    return found


def scaled_object() -> Document:
    (found,) = of_kind(built("cpu-zero"), "ScaledObject")
    return found


def rules() -> dict[str, Document]:
    (config,) = built(ADAPTER)
    return {rule["name"]["as"]: rule for rule in queries.adapter_rules(config)}


def targets() -> dict[str, str]:
    """Figure -> so much of it a pod."""
    pods = [metric["pods"] for metric in hpa()["spec"]["metrics"]]
    return {one["metric"]["name"]: one["target"]["averageValue"] for one in pods}


def test_what_the_autoscaler_asks_for_is_a_figure_of_the_service_that_the_adapter_shows() -> None:
    shown = rules()
    assert set(targets()) == set(shown)
    for name, rule in shown.items():
        series = rule["seriesQuery"].partition("{")[0]
        over_time = {"gauge": "avg_over_time(", "counter": "rate("}[FAMILIES[series].kind]
        assert over_time in rule["metricsQuery"]
        assert rule["name"]["matches"] == f"^{series}$"
        assert series == name or FAMILIES[series].kind == "counter"


def test_the_rate_counts_every_prediction_and_no_question_about_health() -> None:
    (routes,) = re.findall(r'route=~"([^"]+)"', rules()["modelyard_requests_per_second"]["metricsQuery"])
    predictions = [*(endpoint.path for endpoint in ENDPOINTS.values()), openai.PATH, infer.TEMPLATE]
    predictions += [f"grpc:{name}" for name in ("ModelInfer", "ModelStreamInfer")]
    assert [route for route in predictions if not re.fullmatch(routes, route)] == []
    others = (LIVE, READY, METRICS, "/v2/models/{name}/ready", "/v2/repository/index", "grpc:ServerLive", "grpc:Check")
    assert [route for route in others if re.fullmatch(routes, route)] == []


def test_pods_are_added_long_before_requests_are_refused() -> None:
    assert float(targets()["modelyard_queue_depth"]) * 4 <= Settings().max_queue


def test_up_is_quick_and_down_is_slow_with_either() -> None:
    ours = hpa()["spec"]["behavior"]
    assert ours["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert ours["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert [one["value"] for one in ours["scaleDown"]["policies"]] == [1]
    spec = scaled_object()["spec"]
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == ours
    assert hpa()["spec"]["minReplicas"] >= 2
    assert spec["minReplicaCount"] == 0
    assert hpa()["spec"]["maxReplicas"] == spec["maxReplicaCount"]


def test_keda_asks_for_the_same_figures_and_for_one_that_is_there_without_pods() -> None:
    triggers = {one["name"]: one["metadata"] for one in scaled_object()["spec"]["triggers"]}
    asked = triggers.pop("asked")
    assert "modelyard_" not in asked["query"], "without a pod the service has no figures"
    wanted = targets()
    assert asked["threshold"] == wanted.pop("modelyard_requests_per_second")
    for name, value in wanted.items():
        (trigger,) = [one for one in triggers.values() if name in one["query"]]
        assert trigger["threshold"] == value
    for one in (asked, *triggers.values()):
        assert one["query"].endswith("or vector(0)"), "nothing at all is no number"
        assert one["ignoreNullValues"] == "false", "Prometheus gone is not nobody asking"
    assert scaled_object()["spec"]["fallback"]["replicas"] >= 2


def evaluated(tmp_path: Path, query: str, series: dict[str, str], expected: list[tuple[str, float]]) -> str:
    """What promtool says of a query at the fifth minute, "" where it gives what is expected."""
    # A rule's expression, so that it is read and evaluated as Prometheus does.
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "result", "expr": query}]}]}), encoding="utf-8"
    )
    test: dict[str, Any] = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": "result",
                        "eval_time": "5m",
                        "exp_samples": [{"labels": f"result{labels}", "value": value} for labels, value in expected],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


LAST_MINUTE = "100x15 4 8 0 8 0"
"""100 until the fourth minute, then jumping, 4 on average, with or without the sample at the minute's edge."""


def of_pods(figure: str, *names: str) -> dict[str, str]:
    """Two models in each pod, and a stranger of the same name elsewhere."""
    found = {}
    for pod in names:
        found[f'{figure}{{namespace="modelyard",pod="{pod}",model="a"}}'] = "10x20"
        found[f'{figure}{{namespace="modelyard",pod="{pod}",model="b"}}'] = LAST_MINUTE
    return found | {f'{figure}{{namespace="elsewhere",pod="p1",model="a"}}': "1000x20"}


@needs_promtool
@pytest.mark.parametrize("figure", ["modelyard_queue_depth", "modelyard_in_flight"])
def test_the_adapter_shows_each_pod_with_its_models_added_up_over_a_minute(tmp_path: Path, figure: str) -> None:
    query = queries.filled(rules()[figure], pods="p1|p2")
    expected = [('{pod="p1"}', 14.0), ('{pod="p2"}', 14.0)]
    assert evaluated(tmp_path, query, of_pods(figure, "p1", "p2", "p3"), expected) == ""


@needs_promtool
def test_the_adapter_shows_the_rate_of_predictions_of_each_pod(tmp_path: Path) -> None:
    query = queries.filled(rules()["modelyard_requests_per_second"], pods="p1|p2")
    place = 'namespace="modelyard",pod="p1"'
    series = {
        f'modelyard_requests_total{{{place},route="/v1/classify",code="200"}}': "0+150x20",
        f'modelyard_requests_total{{{place},route="grpc:ModelInfer",code="200"}}': "0+30x20",
        f'modelyard_requests_total{{{place},route="/v1/classify",code="503"}}': "0+15x20",
        f'modelyard_requests_total{{{place},route="/v2/health/ready",code="200"}}': "0+900x20",
    }
    assert evaluated(tmp_path, query, series, [('{pod="p1"}', 13.0)]) == ""


@needs_promtool
def test_keda_wakes_the_service_when_it_is_asked_and_sees_nothing_where_nobody_asks(tmp_path: Path) -> None:
    triggers = {one["name"]: one["metadata"]["query"] for one in scaled_object()["spec"]["triggers"]}
    refused = (
        'istio_requests_total{reporter="source",destination_service_name="modelyard",'
        'destination_service_namespace="modelyard",response_code="503",response_flags="UH"}'
    )
    assert evaluated(tmp_path, triggers["asked"], {}, [("", 0.0)]) == ""
    assert evaluated(tmp_path, triggers["asked"], {refused: "0+30x40"}, [("", 2.0)]) == ""
    for name in ("queue", "in-flight"):
        assert evaluated(tmp_path, triggers[name], {}, [("", 0.0)]) == ""


@needs_promtool
def test_a_query_that_says_something_else_is_noticed(tmp_path: Path) -> None:
    query = queries.filled(rules()["modelyard_queue_depth"], pods="p1").replace("sum(", "max(")
    assert "pod" in evaluated(tmp_path, query, of_pods("modelyard_queue_depth", "p1"), [('{pod="p1"}', 14.0)])
    wrong = {"misspelt": "summ(modelyard_queue_depth)", "unclosed": "sum(modelyard_queue_depth"}
    found = queries.unreadable(wrong, tmp_path / "queries.yaml")
    assert [one.partition(":")[0] for one in found] == list(wrong)


def test_the_deployment_leaves_its_number_to_the_autoscaler() -> None:
    for name in ("cpu-full", "cpu-zero", "gpu-full", "gpu-claim"):
        assert "replicas" not in Tree(built(name)).deployment["spec"]
