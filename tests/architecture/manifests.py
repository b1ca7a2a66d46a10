"""Manifests as tests look at them: documents by tree, pods, volumes, variables, settings.

Knows Kubernetes' forms. Knows nothing of what is right: service_rules.py and pod_rules.py do.
"""

import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from k8s import trees
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
NAMESPACE = "modelyard"
NAME = "modelyard"
SERVED = "serve"

Document = trees.Document

needs_kubectl = pytest.mark.skipif(
    not trees.kubectl(), reason="kubectl is not installed (k8s/kubectl.sh build/k8s/bin)"
)


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder by its real path, since kustomize counts the steps from it to the trees."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name).resolve()


@cache
def built(name: str) -> list[Document]:
    """The documents of a tree, or of a combination, by its name; do not change them."""
    if name in trees.combinations():
        parts = trees.combinations()[name]
        with folder() as empty:
            return trees.combine(empty, parts["overlay"], parts["components"])
    return trees.build(trees.HERE / name)


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    """The documents of these kinds."""
    return [one for one in documents if one["kind"] in kinds]


def services() -> list[str]:
    """Every overlay of the service, and every combination."""
    return [*(name for name in trees.trees() if name.startswith("overlays/")), *trees.combinations()]


@dataclass
class Pod:
    """The pod of a template, and what it refers to."""

    template: Document
    documents: list[Document]

    @property
    def spec(self) -> Document:
        found: Document = self.template["spec"]
        return found

    def containers(self) -> list[Document]:
        """All, those that run before the others first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> Document | None:
        """One by its name."""
        return next((one for one in self.containers() if one["name"] == name), None)

    def volumes(self) -> dict[str, Document]:
        """By name."""
        return {volume["name"]: volume for volume in self.spec.get("volumes", [])}

    def volume_at(self, container: Document, path: str) -> tuple[Document, Document] | None:
        """The volume that a path of a container lies in, and its mount."""
        mounts = [one for one in container.get("volumeMounts", []) if Path(path).is_relative_to(one["mountPath"])]
        if not mounts:
            return None
        mount = max(mounts, key=lambda one: len(one["mountPath"]))
        return self.volumes().get(mount["name"], {}), mount

    def variables(self, container: Document) -> dict[str, str]:
        """Its environment without what Secrets bring; what a ConfigMap lacks is not there."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            for one in of_kind(self.documents, "ConfigMap"):
                if one["metadata"]["name"] == source.get("configMapRef", {}).get("name"):
                    found |= one["data"]
        return found | {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}


def pods(documents: list[Document]) -> list[Pod]:
    """Every pod that the documents ask for."""
    return [Pod(template, documents) for document in documents for template in trees.pod_templates(document)]


def words(container: Document) -> list[str]:
    """The words of its command line, after the program; of a line for the shell, those of the command in it."""
    if "command" not in container:
        return list(container["args"])
    script: str = container["command"][-1]
    (command,) = re.findall(r"modelyard (.+?)(?: & wait.*)?$", script, re.MULTILINE)
    return shlex.split(command)


def builds() -> dict[str, str]:
    """Image, with its tag where one is said -> extras, from the lines of Dockerfiles that say how to build."""
    found = {}
    for file in (ROOT / "docker").glob("Dockerfile.*"):
        text = file.read_text(encoding="utf-8")
        default = re.search(r"^ARG EXTRAS=(\S+)$|'\.\[([\w,-]+)\]'", text, re.MULTILINE)
        assert default, file
        for line in re.findall(r"^#\s+(docker build .+) \.$", text, re.MULTILINE):
            parts = shlex.split(line)
            extras = [part.removeprefix("EXTRAS=") for part in parts if part.startswith("EXTRAS=")]
            found[parts[parts.index("-t") + 1]] = extras[0] if extras else default[1] or default[2]
    return found


def extras_of(image: str) -> list[str] | None:
    """The extras in an image, or None where no Dockerfile says how to build it."""
    known = builds()
    extras = known.get(image) or known.get(image.partition(":")[0])
    return extras.split(",") if extras else None


class Tree:
    """The parts of a tree of the service that rules ask for."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents
        (self.deployment,) = of_kind(documents, "Deployment")
        self.pod = Pod(self.deployment["spec"]["template"], documents)
        served = self.pod.container(SERVED)
        assert served is not None
        self.served = served
        self.variables = self.pod.variables(served)

    @property
    def settings(self) -> Settings:
        """What the server is told."""
        prefix = str(Settings.model_config["env_prefix"])
        return Settings(**{name.removeprefix(prefix).lower(): value for name, value in self.variables.items()})

    def named(self, kind: str, name: str) -> Document | None:
        """One document."""
        return next((one for one in of_kind(self.documents, kind) if one["metadata"]["name"] == name), None)
