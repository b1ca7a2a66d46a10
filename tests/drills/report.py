"""`pytest -p tests.drills.report`: build/drills/report.md, a line a drill: expected, seen, seconds, whether it held.

What is expected comes from the table in docs/operations/faults.md. Knows pytest. Knows nothing of drills.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/operations/faults.md"
REPORT = ROOT / "build/drills/report.md"
ROW = re.compile(r"^\| (?P<fault>[^|]+) \| (?P<expected>.+) \| (?P<tests>[^|]*`tests/[^|]+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The table: (fault, what is expected, its tests as (file, function))."""
    found = ROW.finditer(PAGE.read_text(encoding="utf-8"))
    return [(row["fault"].strip(), row["expected"].strip(), TEST.findall(row["tests"])) for row in found]


class Told:
    """What became of each test, by file and function."""

    def __init__(self) -> None:
        self.reports: dict[tuple[str, str], list[pytest.TestReport]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            file, _, function = report.nodeid.partition("::")
            self.reports.setdefault((file, function.partition("[")[0]), []).append(report)

    def pytest_sessionfinish(self) -> None:
        lines = ["| fault | expected | seen | seconds | held |", "|---|---|---|---|---|"]
        for fault, expected, tests in rows():
            lines += [self._line(fault, expected.replace(" | ", "; "), test) for test in tests]
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text("# Fault drills\n\n" + "\n".join(lines) + "\n", encoding="utf-8")

    def _line(self, fault: str, expected: str, test: tuple[str, str]) -> str:
        reports = self.reports.get(test, [])
        seconds = sum(report.duration for report in reports)
        seen = [str(value) for report in reports for name, value in report.user_properties if name == "seen"]
        if not reports:
            held = "not run"
        elif any(report.failed for report in reports):
            held = "NO"
        elif all(report.skipped for report in reports):
            held, seen = (
                "not run",
                [str(report.longrepr[2]) for report in reports if isinstance(report.longrepr, tuple)],
            )
        else:
            held = "yes"
        told = " / ".join(seen).replace("|", "\\|").replace("\n", " ") or f"`{test[1]}`"
        return f"| {fault} | {expected} | {told} | {seconds:.1f} | {held} |"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Told())
