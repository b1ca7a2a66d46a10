"""A run as a page for people (summary.md, and the terminal) and as JSON for programs.

Knows what was measured and judged. Knows nothing of how.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.targets import Line


@dataclass
class ShapeRun:
    """One shape, measured and judged."""

    shape: str
    rate_per_second: float
    """Good answers."""
    whole: dict[str, float]
    families: dict[str, dict[str, float]]
    lines: list[Line]
    outcomes: dict[str, int]
    codes: dict[int, int]
    examples: list[str] = field(default_factory=list)
    """Problems, in words."""
    accounts: list[str] = field(default_factory=list)
    """Where the server's counters say otherwise."""

    @property
    def holds(self) -> bool:
        """Whether every demand is met."""
        return all(line.holds for line in self.lines)


@dataclass
class Summary:
    """All shapes."""

    machine: str
    service: str
    capacity_per_second: float
    deadline_ms: float
    thresholds: str
    took_s: float
    shapes: list[ShapeRun]

    @property
    def holds(self) -> bool:
        """Whether every demand of every shape is met."""
        return bool(self.shapes) and all(shape.holds for shape in self.shapes)


def as_markdown(summary: Summary) -> str:
    """The page."""
    passed = "passed" if summary.holds else "NOT PASSED"
    parts = [
        f"# Load test: {passed}\n",
        f"{summary.service}, on {summary.machine}; {summary.took_s:.0f} s. At full speed "
        f"{_number(summary.capacity_per_second)} good answers/s; every request carried a deadline of "
        f"{summary.deadline_ms:g} ms; thresholds: `{summary.thresholds}`.\n",
        _table(
            [
                "shape",
                "requests",
                "good/s",
                "good",
                "shed",
                "wrong",
                "failed",
                "unanswered",
                "p50 ms",
                "p95 ms",
                "p99 ms",
            ],
            [_shape_row(one) for one in summary.shapes],
        ),
        "## What was demanded\n",
        _table(
            ["demand", "limit", "measured", "holds"],
            [[line.what, line.target, line.measured, "yes" if line.holds else "**NO**"] for line in _lines(summary)],
        ),
        "## By family\n",
        _table(
            ["shape, family", "p50 ms", "p95 ms", "p99 ms", "p50 over calm", "shed share", "wrong"],
            [_family_row(one.shape, name, told) for one in summary.shapes for name, told in one.families.items()],
        ),
    ]
    problems = [f"- {one.shape}: {text}" for one in summary.shapes for text in (*one.examples, *one.accounts)]
    if problems:
        parts += ["## Problems\n", *problems, ""]
    return "\n".join(parts)


def write_summary(summary: Summary, folder: Path) -> None:
    """summary.md and summary.json."""
    (folder / "summary.md").write_text(as_markdown(summary), encoding="utf-8")
    plain = _finite(asdict(summary) | {"holds": summary.holds})
    (folder / "summary.json").write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def shown(summary: Summary) -> str:
    """For a terminal: the demands, and what did not hold once more at the end."""
    lines = [
        f"{line.what:<48} {line.target:>12} {line.measured:>12} {'yes' if line.holds else 'NO'}"
        for line in _lines(summary)
    ]
    broken = [line for line in _lines(summary) if not line.holds]
    head = f"{'demand':<48} {'limit':>12} {'measured':>12} holds"
    end = f"{len(lines)} demands, {len(broken)} not met" if lines else "nothing was demanded: that is no pass"
    return "\n".join([head, *lines, end, *(f"NOT MET: {one.what} {one.target}, got {one.measured}" for one in broken)])


def _lines(summary: Summary) -> list[Line]:
    return [line for shape in summary.shapes for line in shape.lines]


def _shape_row(one: ShapeRun) -> list[str]:
    counts = [str(one.outcomes.get(name, 0)) for name in ("good", "shed", "wrong", "failed", "unanswered")]
    times = [_number(one.whole[f"{name}_ms"]) for name in ("p50", "p95", "p99")]
    return [one.shape, str(sum(one.outcomes.values())), _number(one.rate_per_second), *counts, *times]


def _family_row(shape: str, name: str, told: dict[str, float]) -> list[str]:
    keys = ("p50_ms", "p95_ms", "p99_ms", "p50_over_calm", "shed_share", "wrong")
    return [f"{shape}, {name}", *(_number(told[key]) for key in keys)]


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
