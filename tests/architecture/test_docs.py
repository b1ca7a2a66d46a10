"""The docs say what is: trees equal the disk, generated pages are fresh, links lead somewhere, modules stay rooms."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bundle.preprocess import ImageResize
from bundle.tasks import TASKS

ROOT = Path(__file__).parents[2]
PACKAGES = ("bundle", "runtime", "training", "export", "serving", "scoring", "delivery")
MAX_MODULE_LINES = 320
TREE_LINE = re.compile(r"^(?P<indent> *)(?P<name>[\w.\-]+/?)( +\S.*)?$")


def tracked(pattern: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", pattern], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def tree_of_the_docs() -> set[str]:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    block = re.search(r"```tree\n(.*?)```", text, re.DOTALL)
    assert block, "docs/architecture.md has no ```tree block"
    found: set[str] = set()
    stack: list[str] = []
    for line in block[1].splitlines():
        match = TREE_LINE.match(line)
        assert match, f"not a line of a tree: {line!r}"
        depth = len(match["indent"]) // 2
        stack = [*stack[:depth], match["name"]]
        found.add("".join(stack))
    return {path for path in found if not path.endswith("/")}


def test_the_tree_in_the_architecture_page_is_the_disk() -> None:
    modules = {
        path.relative_to(ROOT).as_posix() for package in (*PACKAGES, "loadtests") for path in tracked(f"{package}/*.py")
    }
    modules = {path for path in modules if not path.endswith(("__init__.py", "__main__.py"))}
    assert tree_of_the_docs() == modules | {"modelyard.py", "Makefile"}


def test_generated_pages_are_fresh() -> None:
    pytest.importorskip("torch", reason="the results page is made by training, which needs torch")
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_inside_the_docs_lead_to_files() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in tracked("*.md")
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_decision_record_has_its_three_parts() -> None:
    for record in tracked("docs/adr/*.md"):
        headings = re.findall(r"^## (.+)$", record.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], record.name


def test_a_module_is_a_room_with_a_sign_at_the_door() -> None:
    for package in PACKAGES:
        for path in tracked(f"{package}/*.py"):
            text = path.read_text(encoding="utf-8")
            assert text.count("\n") <= MAX_MODULE_LINES, f"{path} has {text.count(chr(10))} lines"
            assert ast.get_docstring(ast.parse(text)), f"{path} does not say what it is"


def test_the_changelog_knows_the_version() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets
    for target in targets[1].split():
        assert re.search(rf"^{target}:.*## \w", makefile, re.MULTILINE), f"{target} has no ## help line"


def test_the_example_of_the_how_to_is_an_architecture() -> None:
    torch = pytest.importorskip("torch", reason="the example is a torch module")
    page = (ROOT / "docs/how-to/add-an-architecture.md").read_text(encoding="utf-8")
    block = re.search(r" {3}```python\n(.*?) {3}```", page, re.DOTALL)
    assert block
    names: dict[str, Any] = {"__name__": "example"}
    exec(textwrap.dedent(block[1]), names)  # noqa: S102 - our own page
    config = names["StridedConfig"].tiny()
    assert set(config.tasks) <= set(TASKS)
    network = config.build(ImageResize(height_px=17, width_px=20), 5)
    assert network(torch.randn(2, 3, 17, 20)).shape == (2, 5)
