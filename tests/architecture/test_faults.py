"""docs/operations/faults.md and the drills are the same list."""

import ast
from pathlib import Path

from tests.drills.report import ROOT, TEST, rows

DRILLS = "tests/drills"


def functions(file: Path) -> set[str]:
    """The tests of a module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in found if node.name.startswith("test_")}


def test_every_row_has_its_drill() -> None:
    found = rows()
    assert len(found) > 30
    for fault, _, tests in found:
        assert tests, fault
        for file, function in tests:
            assert function in functions(ROOT / file), f"{fault}: {file} holds no {function}"


def test_every_drill_has_its_row() -> None:
    told = {test for _, _, tests in rows() for test in tests}
    for file in (ROOT / DRILLS).glob("test_*.py"):
        for function in functions(file):
            assert (f"{DRILLS}/{file.name}", function) in told, f"{file.name}: {function} has no row"


def test_no_line_of_a_table_escapes_the_reading_of_rows() -> None:
    page = (ROOT / "docs/operations/faults.md").read_text(encoding="utf-8")
    named = [line for line in page.splitlines() if line.startswith("|") and TEST.search(line)]
    tables = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| fault ")]
    assert len(rows()) == len(named) == len(tables)
