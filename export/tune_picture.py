"""A tuning as a picture: throughput against the p99 of a request, a line an artefact, engine and layout.

Knows matplotlib and a tuning. Knows nothing of measuring. Imported only where a picture is asked for.
"""

from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.typing import LineStyleType

from bundle.tuning import Point, Tuning
from export.tune_report import figure, in_service

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c564b")
"""Told apart by the colour-blind too (Okabe and Ito, but for those that look like the limit)."""
STYLES: tuple[tuple[LineStyleType, str], ...] = (
    ("-", "o"),
    ("--", "s"),
    (":", "^"),
    ("-.", "D"),
    ("-", "v"),
    ("--", "P"),
)
LIMIT_COLOR, CHOSEN_COLOR, QUIET = "#d55e00", "#d4003c", "#444444"
WIDE_RANGE = 8
"""From so many times the smallest figure on, an axis counts in powers."""
CHOSEN = "chosen"
"""Name of the mark on the chosen point."""


def draw_tuning(path: Path, tuning: Tuning, name: str) -> None:
    """Write the picture as a PNG."""
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9}):  # a $ in a name is a $
        figure_of(tuning, name).savefig(path, format="png", dpi=150)


def figure_of(tuning: Tuning, name: str) -> Figure:
    """The picture, not yet written."""
    drawn = Figure(figsize=(9.5, 5.2), layout="constrained")
    axes = drawn.subplots()
    points = sorted(tuning.points, key=_line)
    artefacts = list(dict.fromkeys(_line(point)[:2] for point in points))
    layouts = list(dict.fromkeys(_line(point)[2:] for point in points))
    colors = {key: COLORS[i % len(COLORS)] for i, key in enumerate(artefacts)}
    styles = {key: STYLES[i % len(STYLES)] for i, key in enumerate(layouts)}
    for key, found in groupby(points, key=_line):
        _draw_line(axes, sorted(found, key=lambda point: point.batch_size), colors[key[:2]], styles[key[2:]])
    _scale(axes, tuning)
    _draw_limit(axes, tuning)
    _draw_chosen(axes, tuning)
    axes.set(xlabel="p99 of a request in ms (it waits for one batch and runs in the next)", ylabel="rows per second")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    _write_titles(drawn, axes, tuning, name)
    _explain(drawn, colors, styles, tuning)
    return drawn


def _line(point: Point) -> tuple[str, str, int, int]:
    return point.artefact, point.runtime, point.instances, point.threads


def _draw_line(axes: Axes, line: list[Point], color: str, style: tuple[LineStyleType, str]) -> None:
    p99s, rates = [point.request_p99_ms for point in line], [point.rows_per_s for point in line]
    axes.plot(p99s, rates, color=color, linestyle=style[0], marker=style[1], markersize=5, linewidth=1.4)
    for point, offset_pt in {line[0]: -13, line[-1]: 6}.items():
        where = (point.request_p99_ms, point.rows_per_s)
        size = str(point.batch_size)
        axes.annotate(size, where, (0, offset_pt), textcoords="offset points", ha="center", fontsize=8, color=color)


def _scale(axes: Axes, tuning: Tuning) -> None:
    """Both axes as the figures need them, with numbers that people read."""
    p99s = [*(point.request_p99_ms for point in tuning.points), tuning.p99_ms]
    rates = [point.rows_per_s for point in tuning.points]
    if max(rates) <= WIDE_RANGE * min(rates):
        axes.set_ylim(0, 1.12 * max(rates))
    else:
        axes.set_yscale("log")
        axes.margins(y=0.1)
    if max(p99s) > WIDE_RANGE * min(p99s):
        axes.set_xscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_locator(NullLocator())


def _draw_limit(axes: Axes, tuning: Tuning) -> None:
    left, right = axes.get_xlim()
    right = max(right, 1.05 * tuning.p99_ms)
    axes.axvspan(tuning.p99_ms, right, color=LIMIT_COLOR, alpha=0.07, linewidth=0)
    axes.axvline(tuning.p99_ms, color=LIMIT_COLOR, linewidth=1.2, linestyle=(0, (6, 3)))
    axes.set_xlim(min(left, 0.95 * tuning.p99_ms), right)


def _draw_chosen(axes: Axes, tuning: Tuning) -> None:
    chosen = tuning.chosen
    mark = axes.scatter(
        [chosen.request_p99_ms], [chosen.rows_per_s], s=190, facecolors="none", edgecolors=CHOSEN_COLOR, linewidths=2.2,
        zorder=5,
    )  # fmt: skip
    mark.set_gid(CHOSEN)


def _write_titles(drawn: Figure, axes: Axes, tuning: Tuning, name: str) -> None:
    chosen = tuning.chosen
    verdict = "chosen" if tuning.holds else "none holds the limit; the nearest"
    drawn.suptitle(f"{name} on {tuning.device}", x=0.01, ha="left", fontweight="bold", fontsize=11)
    axes.set_title(
        f"{verdict}: {in_service(chosen, tuning.device)}\n"
        f"{figure(chosen.rows_per_s)} rows/s, p99 of a request {figure(chosen.request_p99_ms)} ms",
        loc="left",
        fontsize=9,
        color=CHOSEN_COLOR,
    )


def _explain(
    drawn: Figure,
    colors: dict[tuple[str, str], str],
    styles: dict[tuple[int, int], tuple[LineStyleType, str]],
    tuning: Tuning,
) -> None:
    """One legend: colours are artefacts, strokes are layouts."""
    on_gpu = tuning.device.kind == "cuda"
    entries = [Line2D([], [], color=color, linewidth=4, label=", ".join(key)) for key, color in colors.items()]
    for (instances, threads), (style, marker) in styles.items():
        layout = f"{instances} at once" + ("" if on_gpu else f", {threads} processor{'s' * (threads > 1)} each")
        entries.append(Line2D([], [], color=QUIET, linestyle=style, marker=marker, markersize=5, label=layout))
    limit = f"limit: {tuning.p99_ms:g} ms"
    entries.append(Line2D([], [], color=LIMIT_COLOR, linewidth=1.2, linestyle=(0, (6, 3)), label=limit))
    ring: dict[str, Any] = {
        "markerfacecolor": "none",
        "markeredgecolor": CHOSEN_COLOR,
        "markeredgewidth": 2.2,
        "markersize": 12,
    }
    entries.append(Line2D([], [], linestyle="", marker="o", label="chosen", **ring))
    title = "numbers: smallest and largest batch"
    drawn.legend(
        handles=entries, loc="outside right upper", frameon=False, title=title, alignment="left", labelspacing=0.7
    )
