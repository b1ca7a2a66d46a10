"""What has to hold of a pod of the service: what it refers to, where it may write, who it is, on what it runs.

Knows Dockerfiles and the page for operators. What the server is told is in service_rules.py.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from dockerfile import read

from tests.architecture.manifests import NAMESPACE, ROOT, SERVED, Document, Tree, extras_of, pods, words

CLUSTER_WIDE = ("Namespace", "PriorityClass", "ClusterServingRuntime")
PAGE = ROOT / "docs/operations/kubernetes.md"


def references(tree: Tree) -> Iterator[str]:
    """What is named is there: in the tree, or in the volume of models."""
    names = {(one["kind"], one["metadata"]["name"]) for one in tree.documents}
    claim = yaml.safe_load((ROOT / "k8s/model-volume/claim.yaml").read_text(encoding="utf-8"))["metadata"]["name"]
    names.add(("PersistentVolumeClaim", claim))
    wanted = [("ServiceAccount", tree.pod.spec["serviceAccountName"])]
    if "priorityClassName" in tree.pod.spec:
        wanted.append(("PriorityClass", tree.pod.spec["priorityClassName"]))
    wanted += [("ConfigMap", one["configMapRef"]["name"]) for one in sources_of(tree) if "configMapRef" in one]
    for volume in tree.pod.volumes().values():
        if "persistentVolumeClaim" in volume:
            wanted.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    yield from (f"there is no {kind} {name}" for kind, name in wanted if (kind, name) not in names)
    for one in tree.documents:
        if one["kind"] not in CLUSTER_WIDE and one["metadata"].get("namespace") != NAMESPACE:
            yield f"{one['kind']} {one['metadata']['name']} is in no namespace of ours"


def secrets(tree: Tree) -> Iterator[str]:
    """The page says how each Secret is made."""
    names = [one["secretRef"]["name"] for one in sources_of(tree) if "secretRef" in one]
    names += [one["secret"]["secretName"] for one in tree.pod.volumes().values() if "secret" in one]
    for name in names:
        if not re.search(rf"create secret [\w-]+ {name}\b", PAGE.read_text(encoding="utf-8")):
            yield f"{PAGE.name} does not say how the Secret {name} is made"


def sources_of(tree: Tree) -> list[Document]:
    """Where variables come from."""
    return [source for container in tree.pod.containers() for source in container.get("envFrom", [])]


def volumes(tree: Tree) -> Iterator[str]:
    """Every mount has a volume, every volume a mount; folders that are written to can be, the others cannot."""
    used = {mount["name"] for container in tree.pod.containers() for mount in container["volumeMounts"]}
    yield from (f"no volume {name}" for name in sorted(used - set(tree.pod.volumes())))
    yield from (f"nobody mounts {name}" for name in sorted(set(tree.pod.volumes()) - used))
    home = _image("cpu").environment["HOME"]
    for container in tree.pod.containers():
        there = tree.pod.volume_at(container, home)
        if there is None or "emptyDir" not in there[0]:
            yield f"{container['name']}: programs write to {home}"
    for name in ("models", "engines"):
        for container in tree.pod.containers():
            for mount in container["volumeMounts"]:
                if mount["name"] == name and not mount.get("readOnly") and container["name"] not in WRITERS[name]:
                    yield f"{container['name']} may write to {name}"
    local = [one["emptyDir"] for one in tree.pod.volumes().values() if "emptyDir" in one]
    disk = sum(bytes_of(one["sizeLimit"]) for one in local if one.get("medium") != "Memory")
    if bytes_of(tree.served["resources"]["limits"]["ephemeral-storage"]) < disk:
        yield "volumes may grow larger than what the pod may have"


WRITERS = {"models": ("fetch", "follow"), "engines": ("build-engines",)}
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def bytes_of(quantity: str) -> float:
    """A quantity of memory or disk."""
    return float(quantity[:-2]) * UNITS[quantity[-2:]]


def folders(tree: Tree) -> Iterator[str]:
    """Who writes models and engines, and who reads them, mean the same folder."""
    told = tree.settings
    for container in tree.pod.containers():
        for word, path in paths_of(container):
            wanted = told.engines if word in ("--engines", "--timing-cache") else told.repository
            if wanted is None or not Path(path).is_relative_to(wanted):
                yield f"{container['name']}: {word} {path}, and the server has {wanted}"
            elif (there := tree.pod.volume_at(container, path)) is None or not there[0]:
                yield f"{container['name']}: {path} is no volume"
    if tree.pod.volume_at(tree.served, str(told.repository)) is None:
        yield f"nothing is mounted at {told.repository}"


def files(tree: Tree) -> Iterator[str]:
    """Files of keys and certificates are those of a Secret, mounted so that a change arrives."""
    for name in ("api_keys_file", "admin_keys_file", "tls_cert", "tls_key"):
        file: Path | None = getattr(tree.settings, name)
        if file is None:
            continue
        volume, mount = tree.pod.volume_at(tree.served, str(file)) or ({}, {})
        if "secret" not in volume:
            yield f"{name}: {file} lies in no Secret"
        elif "subPath" in mount:
            yield f"{name}: a subPath is not swapped when the Secret changes"
        elif file.parent != Path(mount["mountPath"]) or not is_key_of(volume["secret"]["secretName"], file.name):
            yield f"{name}: the Secret {volume['secret']['secretName']} has no {file.name}"


def paths_of(container: Document) -> Iterator[tuple[str, str]]:
    """Folders on its command line, each with the word before it."""
    line = words(container)
    yield from ((before, word) for before, word in zip(["", *line], line, strict=False) if word.startswith("/"))


def is_key_of(secret: str, key: str) -> bool:
    """Whether the page makes a Secret with such a key."""
    page = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    made = re.findall(rf"create secret ([\w-]+) {secret}\b(.*)", page)
    if any(kind == "tls" for kind, _ in made):
        return key in ("tls.crt", "tls.key")
    return any(re.search(rf"--from-file={re.escape(key)}\b", rest) for _, rest in made)


@cache
def _image(device: str) -> Any:
    return read(ROOT / f"docker/Dockerfile.serving-{device}")[-1]


def rights(tree: Tree) -> Iterator[str]:
    """Every pod is the image's user, and may nothing."""
    for pod in pods(tree.documents):
        user, group = map(int, _image("cpu").other["USER"].split(":"))
        context = pod.spec["securityContext"]
        if (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) != (user, group, True):
            yield f"the pod is {context['runAsUser']}, the image's user {user}"
        if context["seccompProfile"] != {"type": "RuntimeDefault"}:
            yield "no seccomp profile"
        if pod.spec["automountServiceAccountToken"] is not False:
            yield "a token for Kubernetes lies in the pod"
        if pod.spec["enableServiceLinks"] is not False:
            yield "a Service called modelyard would set MODELYARD_PORT=tcp://..."
        yield from (f"{name} is of the node" for name, one in pod.volumes().items() if "hostPath" in one)
        wanted = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        yield from (f"{one['name']} may more" for one in pod.containers() if one["securityContext"] != wanted)


def devices(tree: Tree) -> Iterator[str]:
    """A GPU's image, a GPU, the taint of its nodes and the setting come together; processors are whole ones."""
    gpu = tree.settings.device == "cuda"
    keys = [one["key"] for one in tree.pod.spec.get("tolerations", [])]
    if ("nvidia.com/gpu" in keys) != gpu:
        yield "GPU and toleration do not fit"
    for container in tree.pod.containers():
        extras = extras_of(container["image"])
        if extras is None:
            yield f"no Dockerfile builds {container['image']}"
        elif ("tensorrt" in extras) != gpu:
            yield f"{container['name']} on {tree.settings.device} has the image {container['image']}"
        limits = container["resources"]["limits"]
        if ("nvidia.com/gpu" in limits) != (gpu and container["name"] in (SERVED, "build-engines")):
            yield f"{container['name']}: GPU"
    asked = tree.served["resources"]
    if any(asked["requests"][one] != asked["limits"][one] for one in ("cpu", "memory")):
        yield "what is asked for is not what is given"
    if not asked["limits"]["cpu"].isdigit():
        yield "the server counts whole processors"


RULES = (references, secrets, volumes, folders, files, rights, devices)
