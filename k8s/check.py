"""`make k8s-check`: every tree of k8s/ is built, validated strictly, and looked over by checkov.

A tree is a folder with a kustomization.yaml; new ones are found by themselves. Kinds of Kubernetes are held against its
own schemas, others against k8s/schemas/<kind>.json, and pod templates inside of those are checked as the pods that they
become.
Knows YAML and the three tools. Knows nothing of Modelyard: tests/architecture/test_k8s.py does.
"""

import copy
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft7Validator

HERE = Path(__file__).parent
BUILT = HERE.parent / "build/k8s/built"
OWN_GROUPS = ("apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "v1")
NO_KUBECTL = (
    "kubectl is not installed: apt-get install kubernetes-client (Debian), or https://kubernetes.io/docs/tasks/tools"
)


def trees() -> list[Path]:
    """Folders that `kubectl apply -k` takes; components are parts of others."""
    files = sorted(HERE.rglob("kustomization.yaml"))
    return [
        file.parent for file in files if yaml.safe_load(file.read_text(encoding="utf-8"))["kind"] == "Kustomization"
    ]


def build(tree: Path) -> list[dict[str, Any]]:
    """The documents of a tree, as a cluster would get them.

    Raises:
        ValueError: kubectl cannot build it.
    """
    done = subprocess.run(["kubectl", "kustomize", str(tree)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return list(yaml.safe_load_all(done.stdout))


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a document of a foreign kind asks for."""
    name, namespace = document["metadata"]["name"], document["metadata"].get("namespace", "default")
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": template.get("metadata", {})
            | {"name": f"{name}-{template['spec']['containers'][0]['name']}", "namespace": namespace},
            "spec": template["spec"],
        }
        for template in _templates(document)
    ]


def _templates(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield node
        else:
            for value in node.values():
                yield from _templates(value)
    elif isinstance(node, list):
        for value in node:
            yield from _templates(value)


def is_foreign(document: dict[str, Any]) -> bool:
    """Whether Kubernetes itself does not know the kind."""
    return document["apiVersion"].partition("/")[0] not in OWN_GROUPS


def errors(document: dict[str, Any]) -> list[str]:
    """What is wrong with a document."""
    kind, name = document["kind"], document["metadata"]["name"]
    found = _foreign_errors(document) if is_foreign(document) else _own_errors(document)
    misspelt = copy.deepcopy(document)
    misspelt.setdefault("spec", misspelt)["replicaz"] = 1
    if not found and not (_foreign_errors(misspelt) if is_foreign(document) else _own_errors(misspelt)):
        found = ["the schema takes any field, so a misspelt one would pass"]
    return [f"{kind} {name}: {one}" for one in found]


def _own_errors(document: dict[str, Any]) -> list[str]:
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as cause:
        path = ".".join(map(str, getattr(cause, "path", ())))
        return [f"{path}: {getattr(cause, 'message', cause)}"]
    return []


def _foreign_errors(document: dict[str, Any]) -> list[str]:
    schema = HERE / "schemas" / f"{document['kind'].lower()}.json"
    if not schema.exists():
        return [f"no schema: write {schema.relative_to(HERE.parent)}"]
    validator = Draft7Validator(json.loads(schema.read_text(encoding="utf-8")))
    found = [f"{'.'.join(map(str, one.path))}: {one.message}" for one in validator.iter_errors(document)]
    return found + [f"pod {pod['metadata']['name']}: {one}" for pod in pods(document) for one in _own_errors(pod)]


Failed = tuple[str, str, str, str]
"""Tree, check, resource, and the check's title."""


def checkov() -> tuple[Counter[str], list[Failed]]:
    """How many checks each tree passed, and what failed."""
    command = [str(Path(sys.executable).parent / "checkov"), "--directory", str(BUILT), "--framework", "kubernetes",
               "--output", "json", "--skip-download", "--soft-fail"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout)["results"]
    passed = Counter(Path(one["file_path"]).stem.replace(".", "/") for one in results["passed_checks"])
    failed = [
        (Path(one["file_path"]).stem.replace(".", "/"), one["check_id"], one["resource"], one["check_name"])
        for one in results["failed_checks"]
    ]
    return passed, failed


def sift(failed: list[Failed]) -> tuple[int, list[str]]:
    """How many failures skipped-checks.yaml allows; what is wrong: the others, and allowances that nothing needs."""
    skips = yaml.safe_load((HERE / "skipped-checks.yaml").read_text(encoding="utf-8"))
    allowed = {(skip["check"], pattern) for skip in skips for pattern in skip["of"]}
    unused, wrong = set(allowed), []
    for tree, check, resource, title in failed:
        matching = {one for one in allowed if one[0] == check and fnmatch(resource, one[1])}
        unused -= matching
        if not matching:
            wrong.append(f"{tree}: {check} {title}: {resource}")
    return len(failed) - len(wrong), wrong + [
        f"skipped-checks.yaml: {check} is skipped of {pattern}, and nothing there fails it"
        for check, pattern in sorted(unused)
    ]


def main() -> int:
    """0 where nothing is wrong."""
    if not shutil.which("kubectl"):
        print(NO_KUBECTL, file=sys.stderr)
        return 1
    shutil.rmtree(BUILT, ignore_errors=True)
    BUILT.mkdir(parents=True)
    wrong: list[str] = []
    kinds: dict[str, Counter[str]] = {}
    for tree in trees():
        name = str(tree.relative_to(HERE.parent))
        documents = build(tree)
        kinds[name] = Counter(document["kind"] for document in documents)
        wrong += [f"{name}: {one}" for document in documents for one in errors(document)]
        known = [pod for one in documents for pod in (pods(one) if is_foreign(one) else [one])]
        BUILT.joinpath(f"{name.replace('/', '.')}.yaml").write_text(yaml.safe_dump_all(known), encoding="utf-8")
    passed, failed = checkov()
    skipped, not_skipped = sift(failed)
    wrong += not_skipped
    for name, counted in kinds.items():
        told = ", ".join(f"{number} {kind}" if number > 1 else kind for kind, number in counted.items())
        print(f"{name}: {told}; {passed[name]} checks of checkov passed")
    print(f"against Kubernetes {kubernetes_validate.latest_version()}, strictly; "
          f"{skipped} failures of checkov skipped, for the reasons in skipped-checks.yaml")  # fmt: skip
    print("\n".join(wrong) or "nothing is wrong", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
