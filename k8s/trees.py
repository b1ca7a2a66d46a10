"""The trees of k8s/ as kubectl builds them: folders with a Kustomization, and the combinations of combinations.yaml.

Knows YAML and kubectl. Knows nothing of what is right: check.py and tests/architecture do.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
OUT = HERE.parent / "build/k8s"
COMBINATIONS = HERE / "combinations.yaml"

Document = dict[str, Any]


def kubectl() -> str | None:
    """The program: the one that `make k8s-check` made sure of, or the one on PATH."""
    own = OUT / "bin/kubectl"
    return str(own) if own.exists() else shutil.which("kubectl")


def trees() -> dict[str, Path]:
    """Folders that `kubectl apply -k` takes, by their path in k8s/; components are parts of others."""
    return {name: folder for name, folder in _folders() if _kind(folder) == "Kustomization"}


def components() -> dict[str, Path]:
    """Folders that others take as components."""
    return {name: folder for name, folder in _folders() if _kind(folder) == "Component"}


def combinations() -> dict[str, Document]:
    """The combinations: `overlay`, and `components` in the order in which they are applied."""
    found: dict[str, Document] = yaml.safe_load(COMBINATIONS.read_text(encoding="utf-8"))
    return found


def build(tree: Path) -> list[Document]:
    """The documents of a tree, as a cluster would get them.

    Raises:
        ValueError: kubectl cannot build it.
    """
    done = subprocess.run([kubectl() or "kubectl", "kustomize", str(tree)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{tree}: {done.stderr.strip()}")
    return [one for one in yaml.safe_load_all(done.stdout) if one is not None]


def combine(folder: Path, overlay: str, parts: list[str]) -> list[Document]:
    """The documents of an overlay with components, by a kustomization that is written into `folder`.

    Raises:
        ValueError: kubectl cannot build it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "modelyard",
        "resources": [_seen_from(folder, overlay)],
        "components": [_seen_from(folder, part) for part in parts],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return build(folder)


def pod_templates(node: Any) -> Iterator[Document]:
    """Everything in a document that has containers, however deep."""
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield node
        else:
            for value in node.values():
                yield from pod_templates(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_templates(value)


def _folders() -> list[tuple[str, Path]]:
    return [(str(file.parent.relative_to(HERE)), file.parent) for file in sorted(HERE.rglob("kustomization.yaml"))]


def _kind(folder: Path) -> str:
    return str(yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["kind"])


def _seen_from(folder: Path, part: str) -> str:
    return os.path.relpath(HERE / part, folder)
