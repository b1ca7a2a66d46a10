"""A Dockerfile as data: its stages, and the steps of each.

Knows as much of the syntax as our Dockerfiles use. Knows nothing of Docker, of pip or of what the steps do.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Copy:
    """COPY: from the build's context, or from a stage."""

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass(frozen=True)
class Run:
    """RUN: one shell command, with the folders of other stages that it sees (target -> stage and source)."""

    command: str
    binds: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Workdir:
    """WORKDIR."""

    path: str


Step = Copy | Run | Workdir


@dataclass
class Stage:
    """What lies between two FROMs."""

    name: str
    base: str
    steps: list[Step] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    """Instructions that are given once: USER, EXPOSE, ENTRYPOINT, CMD, HEALTHCHECK, STOPSIGNAL."""

    def exec_form(self, instruction: str) -> list[str]:
        """The words of ENTRYPOINT, CMD or HEALTHCHECK."""
        found: list[str] = json.loads(self.other[instruction][self.other[instruction].index("[") :])
        return found

    @property
    def commands(self) -> str:
        """All that it runs."""
        return "\n".join(step.command for step in self.steps if isinstance(step, Run))


def read(path: Path) -> list[Stage]:
    """The stages of a Dockerfile; the last one is the image.

    Raises:
        ValueError: an instruction that this reader does not know.
    """
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in _instructions(path.read_text(encoding="utf-8")):
        name, _, rest = line.partition(" ")
        if name == "ARG":
            (stages[-1].arguments if stages else arguments).update([_pair(rest)])
        elif name == "FROM":
            base, _, alias = _with(rest, arguments).partition(" AS ")
            stages.append(Stage(alias or "", base))
        else:
            _add(stages[-1], name, rest)
    return stages


def _instructions(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [re.sub(r"\s+", " ", line).strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def _add(stage: Stage, name: str, rest: str) -> None:
    if name == "COPY":
        words = shlex.split(rest)
        stages = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
        *sources, target = (word for word in words if not word.startswith("--"))
        stage.steps.append(Copy(tuple(sources), target, stages[0] if stages else None))
    elif name == "RUN":
        stage.steps.append(_run(rest))
    elif name == "WORKDIR":
        stage.steps.append(Workdir(rest))
    elif name in ("ENV", "LABEL"):
        (stage.environment if name == "ENV" else stage.labels).update(map(_pair, shlex.split(rest)))
    elif name in ("USER", "EXPOSE", "ENTRYPOINT", "CMD", "HEALTHCHECK", "STOPSIGNAL"):
        stage.other[name] = rest
    else:
        raise ValueError(f"this reader of Dockerfiles does not know {name}")


def _run(rest: str) -> Run:
    binds: dict[str, tuple[str, str]] = {}
    while rest.startswith("--mount="):
        mount, _, rest = rest.partition(" ")
        options = dict(map(_pair, mount.removeprefix("--mount=").split(",")))
        if options["type"] == "bind":
            binds[options["target"]] = (options["from"], options["source"])
    return Run(rest, binds)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _with(text: str, arguments: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], text)
