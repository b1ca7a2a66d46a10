"""What `make k8s-check` says of the trees: a page for people.

Knows Markdown and skipped-checks.yaml. Checks nothing.
"""

import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

HERE = Path(__file__).parent


@dataclass
class Report:
    """What was seen."""

    documents: dict[str, list[dict[str, Any]]]
    """By tree."""
    passed: Counter[str]
    """Checks of checkov, by tree."""
    skipped: Counter[str]
    """Failures that are allowed, by check."""
    num_queries: int
    wrong: list[str]
    kubectl: str


def skips() -> list[dict[str, Any]]:
    """skipped-checks.yaml."""
    found: list[dict[str, Any]] = yaml.safe_load((HERE / "skipped-checks.yaml").read_text(encoding="utf-8"))
    return found


def written(file: Path, seen: Report) -> str:
    """Write the page; what to print of it."""
    short = [_line(name, documents, seen.passed[name]) for name, documents in seen.documents.items()]
    tools = _tools(seen)
    lines = [
        "# The manifests, checked",
        "",
        tools,
        "",
        "| tree | documents | checks of checkov passed |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {_counted(documents)} | {seen.passed[name]} |" for name, documents in seen.documents.items()
    ]
    lines += ["", "## Skipped", "", "| check | of | failures | why |", "|---|---|---|---|"]
    lines += [
        f"| {one['check']} | {', '.join(f'`{pattern}`' for pattern in one['of'])} | {seen.skipped[one['check']]} | "
        f"{' '.join(one['why'].split())} |"
        for one in skips()
    ]
    lines += ["", "## Wrong", "", *([f"- {one}" for one in seen.wrong] or ["Nothing."]), ""]
    file.write_text("\n".join(lines), encoding="utf-8")
    return "\n".join([*short, tools, f"build/{file.parent.name}/{file.name} has it all"])


def _line(name: str, documents: list[dict[str, Any]], passed: int) -> str:
    return f"{name}: {_counted(documents)}; {passed} checks of checkov passed"


def _counted(documents: list[dict[str, Any]]) -> str:
    kinds = Counter(document["kind"] for document in documents)
    return ", ".join(f"{number} {kind}" if number > 1 else kind for kind, number in kinds.items())


def _tools(seen: Report) -> str:
    asked = subprocess.run([seen.kubectl, "version", "--client"], capture_output=True, text=True, check=True)
    num_documents = sum(map(len, seen.documents.values()))
    return (
        f"{num_documents} documents of {len(seen.documents)} trees and combinations against Kubernetes "
        f"{kubernetes_validate.latest_version()}, strictly; checkov {version('checkov')}: {seen.passed.total()} checks "
        f"passed, {seen.skipped.total()} failures skipped for the reasons in skipped-checks.yaml; {seen.num_queries} "
        f"queries read by promtool; {' '.join(asked.stdout.split())}"
    )
