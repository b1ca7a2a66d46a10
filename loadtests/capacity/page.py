"""The tables of docs/capacity.md, made from results/capacity.json between marks; the text around them is a person's.

Knows figures and Markdown. Knows nothing of how figures come about.
"""

import re
from collections.abc import Callable
from pathlib import Path

from bundle.errors import RunError
from loadtests.capacity.figures import BUSY, Capacity, Growth, Model, Step, read_capacity

MARK = re.compile(r"(<!-- table: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NONE_YET = "No figures yet: `make capacity` writes them.\n"


def fill(text: str, results: Path) -> str:
    """The page with the tables of a results file in it.

    Raises:
        RunError: the page asks for a table that there is not, or the file cannot be read.
    """
    capacity = read_capacity(results) if results.is_file() else None

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise RunError(f"docs/capacity.md: no table '{name}'; there are {', '.join(TABLES)}")
        return f"{match[1]}{TABLES[name](capacity) if capacity else NONE_YET}{match[3]}"

    return MARK.sub(table, text)


def _machine(capacity: Capacity) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in capacity.versions.items())
    busy = (
        f"\n**The machine was busy** (load {capacity.load:.1f} on {capacity.cpus} processors before it began): these "
        "rates are too low and these times too long; take the order of the figures, and measure on a quiet one.\n"
        if capacity.load > BUSY
        else ""
    )
    return (
        f"Measured on {capacity.machine}; commit {capacity.commit[:10]}; {versions}; "
        f"{capacity.seconds / 60:.1f} minutes of measuring.\n{busy}"
    )


def _measured(capacity: Capacity) -> str:
    rows = [
        "| model, what is sent | one alone, ms | limit of p99, ms | requests/s within it | of the most "
        "| at 50 %: p50 / p99, ms | at 80 %: p50 / p99, ms | rows a batch at 80 % | most, closed loop "
        "| of the engine's | memory, MiB | ready, s |",
        "|---" * 12 + "|",
    ]
    rows += [_measured_row(model) for model in capacity.models]
    return "\n".join(rows) + "\n"


def _measured_row(model: Model) -> str:
    rate = model.rate_within(model.limit_ms)
    ended = model.generator_ended_first(model.limit_ms)
    half, most = _nearest(model, 0.5), _nearest(model, 0.8)
    cells = (
        f"`{model.name}` ({model.artefact}): {model.sent}",
        _ms(model.alone_ms),
        f"{model.limit_ms:g}",
        "none" if rate is None else f"{'>= ' if ended else ''}{rate:.4g}{' (Locust)' if ended else ''}",
        "-" if rate is None or ended else f"{rate / model.saturated_per_second:.2f}",
        _times(half),
        _times(most),
        f"{most.mean_batch:.1f}" if most else "-",
        f"{model.saturated_per_second:.4g}"
        + (f" (**unsteady**: {model.saturated_again_per_second:.4g} after the steps)" if model.is_unsteady else ""),
        f"{model.saturated_per_second / model.engine_per_second:.2f}",
        f"{model.memory_mib:.0f}",
        f"{model.ready_s:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _nearest(model: Model, share: float) -> Step | None:
    """The step at a share of the most; None where the load generator asked for less."""
    near = [step for step in model.steps if abs(step.asked_per_second / model.saturated_per_second - share) < 0.02]
    return near[0] if near else None


def _times(step: Step | None) -> str:
    return f"{_ms(step.p50_ms)} / {_ms(step.p99_ms)}" if step else "-"


def _compared(capacity: Capacity) -> str:
    rows = [
        "| model | asked, of the most | p50, ms: measured / simulated | p99, ms: measured / simulated "
        "| refused: measured / simulated | Locust's processor |",
        "|---" * 6 + "|",
    ]
    for model in capacity.models:
        for step in model.in_order:
            if step.simulated_p50_ms is None or step.simulated_p99_ms is None or step.simulated_shed is None:
                continue
            rows.append(
                f"| `{model.name}` | {step.asked_per_second / model.saturated_per_second:.2f} "
                f"| {_ms(step.p50_ms)} / {_ms(step.simulated_p50_ms)} "
                f"| {_ms(step.p99_ms)} / {_ms(step.simulated_p99_ms)} "
                f"| {_share(step.shed_share)} / {_share(step.simulated_shed)} | {step.generator_busy:.2f} |"
            )
    return "\n".join(rows) + "\n"


def _needs(capacity: Capacity) -> str:
    models = list(dict.fromkeys(need.model for need in capacity.needs))
    columns = [(model, balance) for model in models for balance in ("random", "least")]
    head = " | ".join(f"`{model}`, {balance}" for model, balance in columns)
    rows = [f"| pattern | {head} |", "|---" * (len(columns) + 1) + "|"]
    for pattern in dict.fromkeys(need.pattern for need in capacity.needs):
        found = {(need.model, need.balance): need for need in capacity.needs if need.pattern == pattern}
        cells = [
            f"{need.by_formula} / {need.least} ({_share(need.worst_share)})" if (need := found.get(column)) else "-"
            for column in columns
        ]
        rows.append(f"| {pattern} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _growths(capacity: Capacity) -> str:
    ways = list(dict.fromkeys(growth.way for growth in capacity.growths))
    rows = [f"| doubles in | a pod takes | {' | '.join(ways)} |", "|---" * (len(ways) + 2) + "|"]
    for minutes, start_s in dict.fromkeys((growth.minutes, growth.start_s) for growth in capacity.growths):
        found = {one.way: one for one in capacity.growths if (one.minutes, one.start_s) == (minutes, start_s)}
        rows.append(f"| {minutes:g} min | {start_s:g} s | {' | '.join(_growth(found[way]) for way in ways)} |")
    return "\n".join(rows) + "\n"


def _growth(growth: Growth) -> str:
    refused = f", {_share(growth.shed)} refused" if growth.shed else ""
    return (
        f"**{_share(growth.bad)}**{refused}; {growth.min_replicas} to {growth.most_pods} pods; "
        f"{', '.join(f'{name} {target:g}' for name, target in growth.targets.items())}"
    )


def _share(share: float) -> str:
    return "0" if not share else f"{100 * share:.2g} %"


def _ms(ms: float) -> str:
    return f"{ms:.3g}" if ms < 1000 else f"{ms:.0f}"


TABLES: dict[str, Callable[[Capacity], str]] = {
    "machine": _machine,
    "measured": _measured,
    "compared": _compared,
    "needs": _needs,
    "growths": _growths,
}
