"""What a picture of the dashboard is, and the forms of query that many of them have.

Knows PromQL. Knows nothing of what is shown, nor of Grafana's JSON: dashboard.py does.
"""

from typing import Literal, NamedTuple

NS = 'namespace=~"$namespace"'
OF = f'{NS}, model=~"$model"'
ANSWERED = f'{OF}, outcome="success"'
COMPUTED = f'{OF}, phase="compute"'
ASKED = (
    'route=~"/v1/(classify|segment|detect|anomaly|series/anomaly|text/classify|text/embed|embeddings)'
    '|/v2/models/.+/infer|grpc:ModelInfer"'
)
"""Questions to models, without streams, as rules.yaml has it."""
RATE = "[$__rate_interval]"

Unit = Literal["", "s", "reqps", "percentunit", "bytes", "watt", "celsius", "short", "none", "ops"]


class Query(NamedTuple):
    """One line, or one for each set of labels."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One picture."""

    title: str
    why: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Literal["timeseries", "stat", "timeline"] = "timeseries"
    width: int = 8
    steps: tuple[tuple[float, str], ...] = ()
    """From this value on, this colour; below the first it is green."""
    stacked: bool = False
    top: float | None = None
    """The axis ends here; where none is given, where the data do."""


def quantiles(family: str, labels: str, by: str = "") -> tuple[Query, ...]:
    """Median, slowest tenth and slowest hundredth."""
    group = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by ({group}) (rate({family}_bucket{{{labels}}}{RATE})))",
            f"{name}p{q:.0%}"[:-1],
        )
        for q in (0.5, 0.9, 0.99)
    )


def p99(family: str, labels: str, by: str, legend: str) -> Query:
    """The slowest hundredth, by a label."""
    return Query(f"histogram_quantile(0.99, sum by (le, {by}) (rate({family}_bucket{{{labels}}}{RATE})))", legend)


def rate(by: str, name: str, labels: str) -> str:
    """How many a second, by these labels."""
    return f"sum by ({by}) (rate({name}{{{labels}}}{RATE}))"


def mean(by: str, name: str, labels: str) -> str:
    """Mean of a histogram."""
    return f"{rate(by, f'{name}_sum', labels)} / ({rate(by, f'{name}_count', labels)} > 0)"


BURNS = ((1, "orange"), (6, "red"))
ANY = ((1, "red"),)
