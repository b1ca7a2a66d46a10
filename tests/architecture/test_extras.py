"""The extras of pyproject.toml: never both wheels of ONNX Runtime, and every one that is named anywhere exists."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from modelyard import COMMANDS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
ENGINES = {"onnxruntime": {"serving"}, "onnxruntime-gpu": {"gpu", "tensorrt"}}
NAMED = re.compile(r"(?:modelyard|'\.|\"\.)\[([a-z,]+)\]")


def requirements(extra: str) -> dict[str, Requirement]:
    """By name, with those of the extras that it is made of."""
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "modelyard":
            for other in requirement.extras:
                found |= requirements(other)
        else:
            found[requirement.name] = requirement
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {plain(name): version for name, version in pairs}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("wheel", ENGINES)
def test_each_wheel_of_onnxruntime_comes_with_its_own_extras_alone(wheel: str) -> None:
    assert {extra for extra in EXTRAS if wheel in requirements(extra)} == ENGINES[wheel]


def test_every_extra_that_is_named_anywhere_exists() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md", "*.py", "Makefile", "docker/*"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in listed if (ROOT / file).is_file()}
    named = {file: set(",".join(NAMED.findall(text)).split(",")) - {""} for file, text in texts.items()}
    assert {"serving", "gpu", "tensorrt", "training", "export", "huggingface"} <= set().union(*named.values())
    assert {file: extras - EXTRAS.keys() for file, extras in named.items() if extras - EXTRAS.keys()} == {}


def test_every_command_names_extras_that_exist() -> None:
    for name, (_, extras, _) in COMMANDS.items():
        assert set(extras.split(",")) <= EXTRAS.keys(), name


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_pinned_is_what_is_asked_for(extra: str) -> None:
    pinned = pins()
    for requirement in requirements(extra).values():
        version = pinned.get(plain(requirement.name))
        assert version is None or requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


@pytest.mark.parametrize("extra", ["dev", "gpu", "huggingface", "loadtests", "serving", "tensorrt", "tune"])
def test_what_is_installed_is_pinned(extra: str) -> None:
    always = (Requirement(one).name for one in PROJECT["dependencies"])
    assert set(map(plain, (*requirements(extra), *always))) - pins().keys() == set()
