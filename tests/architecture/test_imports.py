"""Every import rule catches a violation: a rule that can't fail is no rule."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter belongs to the dev extra")

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = CONFIG["tool"]["importlinter"]["root_packages"]
CONTRACTS = [contract["name"] for contract in CONFIG["tool"]["importlinter"]["contracts"]]

VIOLATIONS = {
    "Imports go down only; siblings do not see each other": [
        ("bundle/tensors.py", "import runtime"),
        ("runtime/cpus.py", "import training"),
        ("training/figures.py", "import runtime"),
        ("serving/batching/lanes.py", "import export"),
        ("export/latency.py", "import serving"),
        ("runtime/predictor.py", "import serving"),
        ("scoring/scorer.py", "import serving"),
        ("serving/batching/lanes.py", "import scoring"),
        ("serving/batching/lanes.py", "import delivery"),
        ("delivery/bring.py", "import scoring"),
    ],
    "The contract knows no engine, no torch, no HTTP": [
        ("bundle/tensors.py", "import torch"),
        ("bundle/store.py", "import onnxruntime"),
        ("bundle/errors.py", "import fastapi"),
    ],
    "Engines know no torch and no HTTP": [("runtime/fake.py", "import torch"), ("runtime/ort.py", "import starlette")],
    "Serving never needs torch, nor the tools of export": [("serving/batching/lanes.py", "import torch")],
    "Scoring needs neither torch nor HTTP": [
        ("scoring/scorer.py", "import torch"),
        ("scoring/job.py", "import fastapi"),
    ],
    "Delivery knows no engine, no torch, no server": [
        ("delivery/bring.py", "import runtime"),
        ("delivery/objects.py", "import onnxruntime"),
        ("delivery/registry.py", "import fastapi"),
    ],
    "The contract knows no way to where bundles are kept": [
        ("bundle/store.py", "import obstore"),
        ("serving/app.py", "import httpx"),
    ],
    "Training knows no engine and no HTTP": [("training/graph.py", "import onnxruntime")],
    "Export knows checkpoints, not recipes, the loop or HTTP": [
        ("export/evaluate.py", "import training.recipes"),
        ("export/package.py", "import training.run"),
    ],
}


def lint_imports(folder: Path) -> str:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--config", "pyproject.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_code_as_it_is_keeps_every_rule(copy: Path) -> None:
    assert f"{len(CONTRACTS)} kept, 0 broken" in lint_imports(copy)


def test_every_rule_has_a_violation_here() -> None:
    assert set(VIOLATIONS) == set(CONTRACTS)


@pytest.mark.parametrize(("rule", "file", "line"), [(r, *v) for r, found in VIOLATIONS.items() for v in found])
def test_a_violation_is_caught(rule: str, file: str, line: str, copy: Path) -> None:
    path = copy / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    assert f"{rule} BROKEN" in lint_imports(copy)


def test_every_package_of_the_wheel_is_linted() -> None:
    shipped = CONFIG["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]
    assert {entry.strip("/") for entry in shipped} - {"modelyard.py"} == set(PACKAGES)
    on_disk = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "loadtests"}
    assert on_disk == set(PACKAGES)
