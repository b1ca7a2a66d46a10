"""`make k8s-check`: every tree of k8s/ is built, validated strictly, and looked over by checkov; build/k8s/report.md.

New trees are found by themselves, and components are built as combinations.yaml puts them together. Kinds of
Kubernetes are held against its own schemas, others against k8s/schemas/<kind>.json, and pod templates inside of those
are checked as the pods that they become. Queries of the autoscalers are read by promtool.
Knows YAML and the tools. Knows nothing of Modelyard: tests/architecture/test_k8s*.py do.
"""

import copy
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import report
import yaml
from jsonschema import Draft7Validator
from queries import queries, unreadable
from trees import HERE, OUT, build, combinations, combine, components, kubectl, pod_templates, trees

BUILT = OUT / "built"
OWN_GROUPS = (
    *("apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"),
    *("scheduling.k8s.io", "v1"),
)
NO_KUBECTL = "kubectl is not installed: k8s/kubectl.sh build/k8s/bin gets it on Debian; else https://kubernetes.io/docs/tasks/tools"


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a document of a foreign kind asks for."""
    name, namespace = document["metadata"]["name"], document["metadata"].get("namespace", "default")
    schema = _schema(document)
    other = schema.get("notOfThePod", ()) if schema else ()
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": (template.get("metadata", {}) if template is not document else {})
            | {"name": f"{name}-{template['spec']['containers'][0]['name']}", "namespace": namespace},
            "spec": {field: value for field, value in template["spec"].items() if field not in other},
        }
        for template in pod_templates(document)
    ]


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


def _schema(document: dict[str, Any]) -> dict[str, Any] | None:
    file = HERE / "schemas" / f"{document['kind'].lower()}.json"
    found: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return found


def _foreign_errors(document: dict[str, Any]) -> list[str]:
    schema = _schema(document)
    if schema is None:
        return [f"no schema: write k8s/schemas/{document['kind'].lower()}.json"]
    found = [f"{'.'.join(map(str, one.path))}: {one.message}" for one in Draft7Validator(schema).iter_errors(document)]
    return found + [f"pod {pod['metadata']['name']}: {one}" for pod in pods(document) for one in _own_errors(pod)]


Failed = tuple[str, str, str, str]
"""Tree, check, resource, and the check's title."""


def checkov() -> tuple[Counter[str], list[Failed]]:
    """How many checks each tree passed, and what failed."""
    command = [str(Path(sys.executable).parent / "checkov"), "--directory", str(BUILT), "--framework", "kubernetes",
               "--output", "json", "--skip-download", "--soft-fail"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout)["results"]
    passed = Counter(_tree_of(one) for one in results["passed_checks"])
    failed = [(_tree_of(one), one["check_id"], one["resource"], one["check_name"]) for one in results["failed_checks"]]
    return passed, failed


def _tree_of(result: dict[str, Any]) -> str:
    return Path(result["file_path"]).stem.replace(".", "/")


def sift(failed: list[Failed]) -> tuple[Counter[str], list[str]]:
    """How many failures skipped-checks.yaml allows, by check; what is wrong: the others, and allowances without use."""
    allowed = {(skip["check"], pattern) for skip in report.skips() for pattern in skip["of"]}
    unused, wrong, skipped = set(allowed), [], Counter[str]()
    for tree, check, resource, title in failed:
        matching = {one for one in allowed if one[0] == check and fnmatch(resource, one[1])}
        unused -= matching
        skipped[check] += bool(matching)
        if not matching:
            wrong.append(f"{tree}: {check} {title}: {resource}")
    return skipped, wrong + [
        f"skipped-checks.yaml: {check} is skipped of {pattern}, and nothing there fails it"
        for check, pattern in sorted(unused)
    ]


@dataclass
class Looked:
    """What came of the trees before checkov saw them."""

    documents: dict[str, list[dict[str, Any]]]
    queries: dict[str, str]
    wrong: list[str]


def look() -> Looked:
    """Build and validate every tree, and write what checkov is to see."""
    shutil.rmtree(BUILT, ignore_errors=True)
    BUILT.mkdir(parents=True)
    looked = Looked({}, {}, _unused_components())
    for name, documents in _all_documents(looked.wrong):
        looked.documents[name] = documents
        looked.wrong += [f"{name}: {one}" for document in documents for one in errors(document)]
        looked.queries |= {f"{name}: {where}": query for where, query in queries(documents).items()}
        known = [pod for one in documents for pod in (pods(one) if is_foreign(one) else [one])]
        BUILT.joinpath(f"{name.replace('/', '.')}.yaml").write_text(yaml.safe_dump_all(known), encoding="utf-8")
    looked.wrong += unreadable(looked.queries, OUT / "queries.yaml")
    return looked


def _all_documents(wrong: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name, tree in trees().items():
        try:
            yield name, build(tree)
        except ValueError as cause:
            wrong.append(f"{name}: cannot be built: {cause}")
    for name, parts in combinations().items():
        try:
            yield f"combination {name}", combine(OUT / "combinations" / name, parts["overlay"], parts["components"])
        except ValueError as cause:
            wrong.append(f"combination {name}: cannot be built: {cause}")


def _unused_components() -> list[str]:
    used = {part for parts in combinations().values() for part in parts["components"]}
    used |= {
        str((folder / part).resolve().relative_to(HERE))
        for folder in trees().values()
        for part in yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8")).get("components", [])
    }
    return [
        f"{name}: no tree and no combination has it, so nobody looks at it" for name in sorted(set(components()) - used)
    ]


def main() -> int:
    """0 where nothing is wrong."""
    if not kubectl():
        print(NO_KUBECTL, file=sys.stderr)
        return 1
    looked = look()
    passed, failed = checkov()
    skipped, not_skipped = sift(failed)
    wrong = looked.wrong + not_skipped
    told = report.written(
        OUT / "report.md",
        report.Report(looked.documents, passed, skipped, len(looked.queries), wrong, str(kubectl())),
    )
    print(told)
    print("\n".join(wrong) or "nothing is wrong", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
