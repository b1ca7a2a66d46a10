"""The PromQL in documents: of rules of the prometheus-adapter and of KEDA's triggers, as Prometheus gets it.

Knows both forms, and promtool. Knows nothing of our figures.
"""

import subprocess
from pathlib import Path
from typing import Any

import yaml

NAMESPACE = "modelyard"


def queries(documents: list[dict[str, Any]]) -> dict[str, str]:
    """Where it stands -> the query."""
    found: dict[str, str] = {}
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] == "ScaledObject":
            triggers = [one for one in document["spec"]["triggers"] if one["type"] == "prometheus"]
            found |= {f"{name} trigger {one.get('name', '')}": one["metadata"]["query"] for one in triggers}
        for rule in adapter_rules(document):
            found[f"{name} metricsQuery {rule['name']['as']}"] = filled(rule)
            found[f"{name} seriesQuery {rule['name']['as']}"] = rule["seriesQuery"]
    return found


def adapter_rules(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules in a ConfigMap that the prometheus-adapter reads, else none."""
    if document["kind"] != "ConfigMap" or "adapter" not in document["metadata"]["name"]:
        return []
    found: list[dict[str, Any]] = yaml.safe_load(document["data"]["config.yaml"])["rules"]
    return found


def filled(rule: dict[str, Any], pods: str = ".+") -> str:
    """A rule's metricsQuery as the adapter asks it for the pods that an autoscaler looks at."""
    series = rule["seriesQuery"].partition("{")[0]
    labels = {one["resource"]: label for label, one in rule["resources"]["overrides"].items()}
    matchers = f'{labels["namespace"]}="{NAMESPACE}",{labels["pod"]}=~"{pods}"'
    words = {"<<.Series>>": series, "<<.LabelMatchers>>": matchers, "<<.GroupBy>>": labels["pod"]}
    query: str = rule["metricsQuery"]
    for word, value in words.items():
        query = query.replace(word, value)
    return query


def unreadable(found: dict[str, str], file: Path) -> list[str]:
    """What promtool cannot read of them; `file` is where they are written to for it."""
    wrong = []
    for where, query in found.items():
        rules = {"groups": [{"name": "queries", "rules": [{"record": "query", "expr": query}]}]}
        file.write_text(yaml.safe_dump(rules), encoding="utf-8")
        done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            wrong.append(f"{where}: {query!r}: {(done.stderr or done.stdout).strip()}")
    return wrong
