"""The manifests of the service say what is, in every overlay and combination; and a mistake in them is noticed."""

import copy
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from k8s import trees
from serving.app import create_app
from serving.endpoints import ENDPOINTS
from serving.oip.messages import HEALTH, INFERENCE
from serving.settings import Settings
from tests.architecture import pod_rules, service_rules
from tests.architecture.manifests import (
    NAMESPACE,
    ROOT,
    SERVED,
    Document,
    Tree,
    built,
    folder,
    needs_kubectl,
    of_kind,
    services,
)
from tests.architecture.service_rules import RULES as SERVICE_RULES

RULES = (*SERVICE_RULES, *pod_rules.RULES)
pytestmark = needs_kubectl


def mistakes(documents: list[Document]) -> list[str]:
    """What is wrong; of settings that cannot be read nothing else can be said."""
    tree = Tree(documents)
    unreadable = [f"settings: {one}" for one in service_rules.settings(tree)]
    return unreadable or [f"{rule.__name__}: {one}" for rule in RULES for one in rule(tree)]


@pytest.mark.parametrize("name", services())
def test_an_overlay_agrees_with_itself_and_with_the_code(name: str) -> None:
    assert mistakes(built(name)) == []


def _setting(name: str, value: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        (settings,) = [one for one in of_kind(tree.documents, "ConfigMap") if "settings" in one["metadata"]["name"]]
        settings["data"][name] = value

    return change


def _of_container(name: str, *path: str | int, value: Any) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        _put(tree.pod.container(name), path, value)

    return change


def _of(kind: str, *path: str | int, value: Any) -> Callable[[Tree], None]:
    return lambda tree: _put(of_kind(tree.documents, kind)[0], path, value)


def _put(node: Any, path: tuple[str | int, ...], value: Any) -> None:
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value


POD = ("spec", "template", "spec")
PLANTED: dict[str, tuple[Callable[[Tree], None], str]] = {
    "a misspelt setting": (_setting("MODELYARD_DRAIN_SECS", "30"), "settings: MODELYARD_DRAIN_SECS is no setting"),
    "a value that no setting takes": (_setting("MODELYARD_DRAIN_S", "half"), "settings: "),
    "a flag that is not there": (
        _of_container("build-engines", "args", value=["build-engine", "/models", "--engine-folder", "/engines"]),
        "build-engine has no --engine-folder",
    ),
    "a command that is not there": (_of_container(SERVED, "args", value=["server"]), "no command 'server'"),
    "a variable that nobody sets": (
        _of_container("fetch", "command", 2, value="exec modelyard fetch $SOURCES --repository /models"),
        "nobody sets SOURCES",
    ),
    "another port": (_setting("MODELYARD_PORT", "8080"), "ports of the container"),
    "a probe of the wrong thing": (
        _of_container(SERVED, "livenessProbe", "httpGet", "path", value="/v2/health/ready"),
        "livenessProbe asks",
    ),
    "a probe of a port that wants keys": (
        _of_container(SERVED, "readinessProbe", "httpGet", "port", value="http"),
        "readinessProbe asks",
    ),
    "a longer drain": (_setting("MODELYARD_DRAIN_S", "55"), "terminationGracePeriodSeconds 60 is less"),
    "a shorter grace": (_of("Deployment", *POD, "terminationGracePeriodSeconds", value=30), "end: "),
    "a gap in the rollout": (
        _of("Deployment", "spec", "strategy", "rollingUpdate", "maxUnavailable", value=1),
        "a rollout leaves a gap",
    ),
    "golden rounds that take longer": (_setting("MODELYARD_GOLDEN_EVERY_S", "120"), "minReadySeconds"),
    "a budget that holds up nodes": (_of("PodDisruptionBudget", "spec", "maxUnavailable", value=0), "no pod may ever"),
    "a service for nobody": (_of("Service", "spec", "selector", "app.kubernetes.io/component", value="x"), "chooses"),
    "a policy for nobody": (_of("NetworkPolicy", "spec", "podSelector", "matchLabels", value={"a": "b"}), "chooses"),
    "an account that is not there": (_of("Deployment", *POD, "serviceAccountName", value="other"), "no ServiceAccount"),
    "a claim that is not there": (_of("PersistentVolumeClaim", "metadata", "name", value="other"), "no Persistent"),
    "engines elsewhere": (_setting("MODELYARD_ENGINES", "/cache"), "--engines /engines, and the server has /cache"),
    "models elsewhere": (_setting("MODELYARD_REPOSITORY", "/data"), "nothing is mounted at /data"),
    "keys under another name": (_setting("MODELYARD_API_KEYS_FILE", "/etc/modelyard/keys/keys"), "has no keys"),
    "keys in no Secret": (_setting("MODELYARD_ADMIN_KEYS_FILE", "/tmp/admins.txt"), "lies in no Secret"),  # noqa: S108
    "a server that writes engines": (_of_container(SERVED, "volumeMounts", -1, "readOnly", value=False), "may write"),
    "another user": (_of("Deployment", *POD, "securityContext", "runAsUser", value=0), "the pod is 0"),
    "a root that can be written": (
        _of_container(SERVED, "securityContext", "readOnlyRootFilesystem", value=False),
        "serve may more",
    ),
    "variables of Services": (_of("Deployment", *POD, "enableServiceLinks", value=True), "MODELYARD_PORT=tcp"),
    "an image that nobody builds": (_of_container(SERVED, "image", value="modelyard:latest"), "no Dockerfile builds"),
    "a GPU's setting without a GPU": (
        _of_container(SERVED, "resources", "limits", value={"cpu": "4", "memory": "8Gi", "ephemeral-storage": "12Gi"}),
        "serve: GPU",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_mistake_is_noticed(what: str) -> None:
    plant, told = PLANTED[what]
    tree = Tree(copy.deepcopy(built("overlays/gpu-tensorrt")))
    plant(tree)
    found = mistakes(tree.documents)
    assert told in " ".join(found), found


def test_a_label_changed_alone_leaves_nobody_chosen() -> None:
    tree = Tree(copy.deepcopy(built("overlays/cpu")))
    tree.pod.template["metadata"]["labels"]["app.kubernetes.io/component"] = "server"
    choosers = {one.partition(" chooses")[0] for one in service_rules.selectors(tree)}
    assert choosers == {"Deployment", "Service", "spread", "NetworkPolicy", "PodDisruptionBudget"}


def test_a_setting_that_changes_is_a_rollout() -> None:
    names = {one["metadata"]["name"] for one in of_kind(built("overlays/cpu"), "ConfigMap")}
    others = {one["metadata"]["name"] for one in of_kind(built("overlays/dev"), "ConfigMap")}
    assert all(re.fullmatch(r"modelyard-(settings|sources)-\w{10}", name) for name in names | others)
    assert not names & others


def test_where_models_are_not_fetched_nobody_is_asked_for_them() -> None:
    for name in ("overlays/dev", "cpu-zero", "cpu-image"):
        documents = built(name)
        tree = Tree(documents)
        assert tree.pod.container("fetch") is None
        (policy,) = of_kind(documents, "NetworkPolicy")
        assert policy["spec"]["egress"] == []
        assert "Egress" in policy["spec"]["policyTypes"]
        assert all("sources" not in one["metadata"]["name"] for one in of_kind(documents, "ConfigMap"))


def test_engines_are_built_after_the_models_are_there_and_before_they_are_served() -> None:
    pod = Tree(built("gpu-full")).pod
    assert [one["name"] for one in pod.containers()] == ["fetch", "build-engines", "follow", SERVED]
    assert pod.containers()[2]["restartPolicy"] == "Always"
    assert {one["image"] for one in pod.containers()} == {"modelyard-serving-gpu:0.1.0"}


def paths_of_the_service(repository: Any) -> set[str]:
    app = create_app(Settings(repository=repository, admin_keys=f"alice:{'0' * 64}"))
    return set(app.api.openapi()["paths"]) | {endpoint.path for endpoint in ENDPOINTS.values()}


def test_what_is_open_to_the_outside_is_there_and_is_not_the_figures(tmp_path: Any) -> None:
    paths = paths_of_the_service(tmp_path)
    documents = [*built("cpu-full"), *built("cpu-zero")]
    (http,) = of_kind(documents, "HTTPRoute")
    (ingress,) = of_kind(documents, "Ingress")
    prefixes = [match["path"]["value"] for rule in http["spec"]["rules"] for match in rule["matches"]]
    of_ingress = ingress["spec"]["rules"][0]["http"]["paths"]
    assert prefixes == [one["path"] for one in of_ingress]
    assert {one["backend"]["service"]["port"]["name"] for one in of_ingress} == {"http"}
    for prefix in prefixes:
        assert any(path.startswith(f"{prefix}/") for path in paths)
    assert {path for path in paths if not path.startswith(tuple(f"{one}/" for one in prefixes))} >= {"/metrics"}


def test_routes_lead_to_the_service_and_its_methods_and_wait_longer_than_it() -> None:
    documents = built("cpu-full")
    (http,), (grpc,) = of_kind(documents, "HTTPRoute"), of_kind(documents, "GRPCRoute")
    ports = {
        (service["metadata"]["name"], port["port"]): port["name"]
        for service in of_kind(documents, "Service")
        for port in service["spec"]["ports"]
    }
    for route, name in ((http, "http"), (grpc, "grpc")):
        (rule,) = route["spec"]["rules"]
        assert [ports[one["name"], one["port"]] for one in rule["backendRefs"]] == [name]
    methods = [match["method"]["service"] for match in grpc["spec"]["rules"][0]["matches"]]
    assert methods == [INFERENCE, HEALTH]
    assert not set(http["spec"]["hostnames"]) & set(grpc["spec"]["hostnames"])
    longest_s = Settings().timeout_ms / 1e3
    assert all(float(one.removesuffix("s")) > longest_s for one in http["spec"]["rules"][0]["timeouts"].values())


@pytest.mark.parametrize("name", services())
def test_the_protocol_of_a_port_is_the_one_that_is_spoken_there(name: str) -> None:
    tree = Tree(built(name))
    secure = tree.settings.tls_cert is not None
    assert secure == (name in ("cpu-full", "cpu-image"))
    for service in of_kind(tree.documents, "Service"):
        for port in service["spec"]["ports"]:
            plain = "kubernetes.io/h2c" if port["name"] == "grpc" else "http"
            expected = "https" if secure and port["name"] != "metrics" else plain
            assert port["appProtocol"] == expected, port["name"]


def test_the_kustomization_of_the_page_can_be_built() -> None:
    page = (ROOT / "docs/operations/kubernetes.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    with folder() as empty:
        content = block.replace("k8s/", f"{os.path.relpath(trees.HERE, empty)}/")
        (empty / "kustomization.yaml").write_text(content, encoding="utf-8")
        documents = trees.build(empty)
    assert [one for one in mistakes(documents) if "no Dockerfile builds registry.example.org" not in one] == []
    tree = Tree(documents)
    assert tree.settings.max_queue == 128
    assert tree.served["image"] == "registry.example.org/modelyard-serving-cpu:0.1.0"
    assert of_kind(documents, "HTTPRoute")[0]["spec"]["hostnames"] == ["models.my-company.example"]


def test_every_part_is_on_the_page() -> None:
    page = (ROOT / "docs/operations/kubernetes.md").read_text(encoding="utf-8")
    parts = [*trees.components(), *trees.trees()]
    parts = [name for name in parts if not name.startswith(("batch/", "monitoring"))]
    assert [name for name in parts if f"`{name}`" not in page and name not in ("base", "namespace")] == []


def test_everything_is_in_our_namespace_or_prometheus() -> None:
    for name in trees.trees():
        placed = {
            one["metadata"].get("namespace")
            for one in built(name)
            if one["kind"] not in (*pod_rules.CLUSTER_WIDE, "ClusterServingRuntime")
        }
        assert placed <= {NAMESPACE, "monitoring"}, name
