"""One line of a judgement: what was demanded, what was measured, whether it holds. Knows numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One target."""

    what: str
    target: str
    measured: str
    holds: bool


def at_least(what: str, target: float, value: float) -> Line:
    """The more the better; what is not a number does not hold."""
    return Line(what, f">= {target:g}", f"{value:.3f}", value >= target)


def at_most(what: str, target: float, value: float) -> Line:
    """The less the better; what is not a number does not hold."""
    return Line(what, f"<= {target:g}", f"{value:.3f}", value <= target)
