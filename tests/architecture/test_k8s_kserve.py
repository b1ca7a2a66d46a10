"""The runtime of KServe: its ports, folders and times are those of KServe and of the service."""

import json
from typing import Any

import pytest
from dockerfile import read

from k8s import trees
from serving.oip.health import LIVE, READY
from serving.settings import Settings
from serving.workers.workers import GRACE_S
from tests.architecture.manifests import ROOT, Document, Pod, built, extras_of, needs_kubectl, of_kind, words
from tests.architecture.service_rules import budget_s

MODELS = "/mnt/models"  # where KServe puts what storageUri names
pytestmark = needs_kubectl


def runtime() -> Document:
    (found,) = of_kind(built("kserve"), "ClusterServingRuntime")
    return found


def inference_service() -> Document:
    (found,) = of_kind(built("kserve"), "InferenceService")
    return found


def container() -> Document:
    (found,) = runtime()["spec"]["containers"]
    return found


def settings() -> Settings:
    variables = {one["name"].removeprefix("MODELYARD_").lower(): one["value"] for one in container()["env"]}
    command, repository = words(container())
    assert command == "serve"
    return Settings(repository=repository, **variables)


def test_it_serves_what_lies_where_kserve_puts_it_on_the_ports_that_kserve_asks() -> None:
    told = settings()
    assert str(told.repository) == MODELS
    assert container()["name"] == "kserve-container"
    assert container()["ports"] == [{"name": "http1", "containerPort": told.port, "protocol": "TCP"}]
    page = (ROOT / "docs/operations/kubernetes.md").read_text(encoding="utf-8")
    assert f"ports: [{{name: h2c, containerPort: {told.grpc_port}, protocol: TCP}}]" in page
    assert runtime()["spec"]["annotations"]["prometheus.kserve.io/port"] == str(told.metrics_port)


def test_its_probes_ask_what_those_of_the_deployment_ask() -> None:
    (deployment,) = of_kind(built("overlays/cpu"), "Deployment")
    ours = Pod(deployment["spec"]["template"], []).spec["containers"][0]
    for name, path in (("startupProbe", LIVE), ("livenessProbe", LIVE), ("readinessProbe", READY)):
        probe = container()[name]
        assert probe["httpGet"] == {"path": path, "port": settings().metrics_port}
        assert budget_s(probe) == budget_s(ours[name])


def test_the_example_names_the_runtime_its_format_and_a_protocol_that_it_speaks() -> None:
    model = inference_service()["spec"]["predictor"]["model"]
    formats = [(one["name"], one["version"]) for one in runtime()["spec"]["supportedModelFormats"]]
    assert model["runtime"] == runtime()["metadata"]["name"]
    assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats
    assert model["protocolVersion"] in runtime()["spec"]["protocolVersions"]
    claim = model["storageUri"].removeprefix("pvc://")
    assert claim in [one["metadata"]["name"] for one in of_kind(built("model-volume"), "PersistentVolumeClaim")]


def test_its_pods_may_nothing_and_have_the_time_to_end() -> None:
    predictor = inference_service()["spec"]["predictor"]
    user, group = map(int, read(ROOT / "docker/Dockerfile.serving-cpu")[-1].other["USER"].split(":"))
    for context in (predictor["securityContext"], container()["securityContext"]):
        assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (user, group, True)
    assert predictor["automountServiceAccountToken"] is False
    assert predictor["enableServiceLinks"] is False
    assert extras_of(container()["image"])
    prestop_s = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert predictor["terminationGracePeriodSeconds"] >= prestop_s + settings().drain_s + GRACE_S


def test_the_runtime_is_of_the_whole_cluster() -> None:
    assert "namespace" not in runtime()["metadata"]


SPECIMENS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "httproute": ("cpu-full", ("rules", 0)),
    "grpcroute": ("cpu-full", ("rules", 0, "matches", 0)),
    "scaledobject": ("cpu-zero", ("triggers", 0, "metadata")),
    "clusterservingruntime": ("kserve", ("supportedModelFormats", 0)),
    "inferenceservice": ("kserve", ("predictor", "model")),
}


@pytest.mark.parametrize("kind", SPECIMENS)
def test_a_schema_of_a_foreign_kind_refuses_what_is_misspelt(kind: str) -> None:
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema comes with schemathesis, of the dev extra")
    schema = json.loads((trees.HERE / f"schemas/{kind}.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    tree, path = SPECIMENS[kind]
    (document,) = [json.loads(json.dumps(one)) for one in built(tree) if one["kind"].lower() == kind]
    assert list(validator.iter_errors(document)) == []
    node = document["spec"]
    for step in path:
        node = node[step]
    node["replicaz"] = 3
    assert "replicaz" in " ".join(one.message for one in validator.iter_errors(document))
    del document["spec"]
    assert list(validator.iter_errors(document))
