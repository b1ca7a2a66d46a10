"""What has to agree in the manifests of the service, with each other and with the code: a rule a function.

A rule gets the documents of one tree and says what is wrong, so that tests can also show it a mistake. Knows settings,
commands, ports, probes, and the times of a pod's life. What a pod refers to and may do is in pod_rules.py.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

from pydantic import ValidationError

import modelyard
from bundle.spec import problems
from serving.http.metrics_port import METRICS
from serving.oip.health import LIVE, READY
from serving.settings import Settings
from serving.workers.workers import GRACE_S
from tests.architecture.manifests import NAME, ROOT, Document, Tree, of_kind, words


def settings(tree: Tree) -> Iterator[str]:
    """Every variable is a setting, and its value is allowed."""
    known = {f"MODELYARD_{name.upper()}" for name in Settings.model_fields}
    yield from (f"{name} is no setting" for name in tree.variables if name not in known)
    try:
        _ = tree.settings
    except ValidationError as cause:
        yield f"settings: {problems(cause)}"


def command_lines(tree: Tree) -> Iterator[str]:
    """Every container runs a command that there is, with flags that it has, and variables that it gets."""
    for container in tree.pod.containers():
        command, *rest = words(container)
        if command not in modelyard.COMMANDS:
            yield f"{container['name']}: modelyard has no command '{command}'"
            continue
        flags = [word for word in rest if word.startswith("--")]
        yield from (
            f"{container['name']}: modelyard {command} has no {flag}"
            for flag in flags
            if not re.search(rf"{flag}\b", usage(command))
        )
        asked = set(re.findall(r"\$(?:\{|\()?([A-Z_]+)", " ".join([*container.get("command", []), *rest])))
        yield from (
            f"{container['name']}: nobody sets {name}" for name in sorted(asked - set(tree.pod.variables(container)))
        )


@cache
def usage(command: str) -> str:
    """What `modelyard COMMAND --help` says."""
    line = [sys.executable, str(ROOT / "modelyard.py"), command, "--help"]
    return subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def ports(tree: Tree) -> Iterator[str]:
    """Settings, containers, services, annotations and policies mean the same ports."""
    told = tree.settings
    meant = {"http": told.port, "grpc": told.grpc_port, "metrics": told.metrics_port}
    given = {one["name"]: one["containerPort"] for one in tree.served["ports"]}
    if given != meant:
        yield f"ports of the container are {given}, the settings say {meant}"
    for service in of_kind(tree.documents, "Service"):
        for port in service["spec"]["ports"]:
            if meant.get(port["targetPort"]) != port["port"]:
                yield f"Service {service['metadata']['name']}: port {port['port']} leads to {port['targetPort']}"
    annotations = tree.pod.template["metadata"]["annotations"]
    if annotations["prometheus.io/port"] != str(told.metrics_port) or annotations["prometheus.io/path"] != METRICS:
        yield "annotations lead Prometheus elsewhere"
    (policy,) = of_kind(tree.documents, "NetworkPolicy")
    let_in = [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["ingress"]]
    if let_in != [[told.port, told.grpc_port], [told.metrics_port]]:
        yield f"the policy lets in {let_in}"


def probes(tree: Tree) -> Iterator[str]:
    """Each asks what it is for, on the port that needs no certificate, and leaves the process its time."""
    asked = {"startupProbe": LIVE, "livenessProbe": LIVE, "readinessProbe": READY}
    for name, path in asked.items():
        probe = tree.served[name]
        if probe["httpGet"] != {"path": path, "port": "metrics"}:
            yield f"{name} asks {probe['httpGet']}"
        if probe["timeoutSeconds"] > probe["periodSeconds"]:
            yield f"{name}: a probe may take longer than until the next"
    if budget_s(tree.served["startupProbe"]) < 60:
        yield "startupProbe: less than a minute"
    if budget_s(tree.served["livenessProbe"]) <= tree.settings.golden_limit_s:
        yield "livenessProbe is less patient than the golden watch with one sample"


def budget_s(probe: Document) -> int:
    """How long it may fail."""
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def end(tree: Tree) -> Iterator[str]:
    """The time from the order to the kill is enough for preStop, drain and the models' end."""
    prestop_s = tree.served["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed_s = prestop_s + tree.settings.drain_s + GRACE_S
    grace_s = tree.pod.spec["terminationGracePeriodSeconds"]
    if grace_s < needed_s:
        yield f"terminationGracePeriodSeconds {grace_s} is less than preStop, drain and end: {needed_s:g}"
    if prestop_s < 5:
        yield f"preStop: within {prestop_s} s not everybody has heard that the pod goes"


def rollout(tree: Tree) -> Iterator[str]:
    """No gap, and no step before the new pod's models have been watched once."""
    spec = tree.deployment["spec"]
    if spec["strategy"]["type"] == "Recreate":
        if spec.get("replicas") != 1:
            yield "Recreate ends all pods at once"
        return
    update = spec["strategy"]["rollingUpdate"]
    if update["maxUnavailable"] != 0 or not update["maxSurge"]:
        yield f"a rollout leaves a gap: {update}"
    told = tree.settings
    watched_s = told.golden_every_s + told.golden_limit_s + budget_s(tree.served["readinessProbe"])
    if spec["minReadySeconds"] < watched_s:
        yield f"minReadySeconds {spec['minReadySeconds']}: a wrong model is noticed after {watched_s:g} s"
    if spec["progressDeadlineSeconds"] <= spec["minReadySeconds"] + budget_s(tree.served["startupProbe"]):
        yield "progressDeadlineSeconds: no pod can be there so soon"


def disruptions(tree: Tree) -> Iterator[str]:
    """A budget can be held, and does not hold up a node for ever."""
    scalers = of_kind(tree.documents, "HorizontalPodAutoscaler", "ScaledObject")
    replicas = [tree.deployment["spec"].get("replicas")]
    if scalers and replicas != [None]:
        yield "the autoscaler's number is set anew by every apply"
    spec = scalers[0]["spec"] if scalers else {}
    least = spec.get("minReplicas", spec.get("minReplicaCount", replicas[0]))
    for budget in of_kind(tree.documents, "PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable", 0) < 1:
            yield "no pod may ever be taken"
        if budget["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield "a pod that never gets ready holds up its node"
        if least == 1:
            yield "a budget for one pod keeps nothing"
    if least is None:
        yield "nobody says how many"


def selectors(tree: Tree) -> Iterator[str]:
    """Everything that chooses pods chooses these."""
    labels = tree.pod.template["metadata"]["labels"].items()
    chosen = [("Deployment", tree.deployment["spec"]["selector"]["matchLabels"])]
    chosen += [("Service", one["spec"]["selector"]) for one in of_kind(tree.documents, "Service")]
    chosen += [("spread", one["labelSelector"]["matchLabels"]) for one in tree.pod.spec["topologySpreadConstraints"]]
    for kind, field in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        chosen += [(kind, one["spec"][field]["matchLabels"]) for one in of_kind(tree.documents, kind)]
    yield from (f"{who} chooses {wanted}" for who, wanted in chosen if not wanted.items() <= labels)
    for one in of_kind(tree.documents, "HorizontalPodAutoscaler", "ScaledObject"):
        if one["spec"]["scaleTargetRef"] != {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}:
            yield f"{one['kind']} scales {one['spec']['scaleTargetRef']}"


RULES = (settings, command_lines, ports, probes, end, rollout, disruptions, selectors)
