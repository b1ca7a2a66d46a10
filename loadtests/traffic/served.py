"""What the service serves, as it says itself, matched with bundles on this machine that hold the golden samples.

A bundle is known by its digest, so what is checked is what answers, not something of the same name. Knows /v1/models.
Knows nothing of Locust.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bundle.errors import BundleError
from bundle.store import Bundle, names, open_bundle, versions
from loadtests.traffic.bodies import Proven, openai_cases, task_cases
from loadtests.traffic.case import Answer, Case
from loadtests.traffic.families import FAMILIES, Family, TrafficError
from loadtests.traffic.tensors import grpc_cases, oip_cases

POLL_S = 0.5
READY = "ready"


class Listed(msgspec.Struct):
    """A version of a model, as /v1/models has it."""

    name: str
    version: int
    state: str
    task: str = ""
    artefact: str = ""
    digest: str = ""


class _Listing(msgspec.Struct):
    models: list[Listed]


@dataclass(frozen=True)
class Available:
    """What could be driven."""

    models: dict[str, list[Listed]]
    """By family, where it has any."""
    missing: dict[str, str]
    """The other families -> why not."""


def discover(get: Callable[[str], Answer], host: str, ready_within_s: float) -> list[Listed]:
    """The models that answer, the newest version of each; waits until the service is up and loads no more.

    Raises:
        TrafficError: it does not answer in time, it answers an error, or no model is ready.
    """
    deadline = time.monotonic() + ready_within_s
    while True:
        ready = get("/v2/health/ready")
        if ready.status == 200 or time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    answer = get("/v1/models")
    if answer.status == 0:
        raise TrafficError(f"{host} does not answer: {answer.error}. Is the service up, and is --host right?")
    if answer.status in (401, 403):
        raise TrafficError(f"{host}/v1/models answers {answer.status}: give a key with --api-key")
    if answer.status != 200:
        raise TrafficError(f"{host}/v1/models answers {answer.status}: {answer.body[:200]!r}. Is this Modelyard?")
    try:
        listed = msgspec.json.decode(answer.body, type=_Listing).models
    except msgspec.MsgspecError as cause:
        raise TrafficError(f"{host}/v1/models does not list models ({cause}): {answer.body[:200]!r}") from None
    newest: dict[str, Listed] = {}
    for model in sorted(listed, key=lambda one: one.version):
        if model.state == READY:
            newest[model.name] = model
    if not newest:
        states = (
            ", ".join(f"{model.name} version {model.version} is {model.state}" for model in listed) or "it has none"
        )
        raise TrafficError(f"{host}: no model is ready after {ready_within_s:g} s: {states}")
    return list(newest.values())


def available(listed: list[Listed], has_grpc: bool) -> Available:
    """Which families these models make."""
    found: dict[str, list[Listed]] = {}
    missing: dict[str, str] = {}
    for name, family in FAMILIES.items():
        fitting = [model for model in listed if family.task in (None, model.task)]
        if not fitting:
            missing[name] = f"no model of task '{family.task}' is ready"
        elif name == "grpc" and not has_grpc:
            missing[name] = "--grpc-host is not given"
        else:
            found[name] = fitting
    return Available(found, missing)


def golden_cases(listed: list[Listed], family: Family, bundles: Path, timeout_ms: float | None) -> list[Case]:
    """Every request of a family, for every model that it can ask.

    Raises:
        TrafficError: a model's bundle is not in the folder, or cannot be trusted.
    """
    cases: list[Case] = []
    for model in listed:
        proven = Proven(_bundle_of(model, bundles), model.artefact)
        if family.name == "openai":
            cases += openai_cases(family.name, proven)
        elif family.name == "oip":
            cases += oip_cases(family.name, proven)
        elif family.name == "grpc":
            cases += grpc_cases(family.name, proven, timeout_ms)
        else:
            cases += task_cases(family.name, proven)
    return cases


def _bundle_of(model: Listed, bundles: Path) -> Bundle:
    there = f"'{model.name}' version {model.version} (digest {model.digest[:12]})"
    try:
        known = versions(bundles, model.name) if model.name in names(bundles) else []
        for version in [model.version] if model.version in known else []:
            bundle = open_bundle(bundles / model.name / str(version))
            if bundle.manifest.digest == model.digest:
                return bundle
            raise TrafficError(
                f"the service answers with {there}; {bundle.folder} has digest {bundle.manifest.digest[:12]}: "
                "it is another bundle, so its golden answers say nothing. Point --bundles at what is served"
            )
    except BundleError as cause:
        raise TrafficError(f"--bundles: {cause}") from None
    raise TrafficError(
        f"the service answers with {there}, and {bundles} has no such bundle (there are versions {known}): --bundles "
        "must hold the bundles that are served, for their golden answers"
    )
