"""Moments at which requests arrive: Poisson at a rate that may change, perhaps in bursts (Markov-modulated Poisson).

Many clients who know nothing of each other make a Poisson stream; clients that share a cause come in bursts. Every
stream is drawn from a seed and is the same at each call. Knows rates and time. Knows nothing of pods.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Moments = npt.NDArray[np.float64]
"""Seconds from the start, ascending."""


@dataclass(frozen=True)
class Bursts:
    """A rate that is multiplied by `factor` for `burst_s`, with `calm_s` between; both are means, of exponential times.

    Between bursts it is lowered so that the average over a long time stays as it is.
    """

    factor: float
    burst_s: float
    calm_s: float

    def __post_init__(self) -> None:
        share = self.burst_s / (self.burst_s + self.calm_s)
        if self.burst_s <= 0 or self.calm_s <= 0 or not 1 <= self.factor <= 1 / share:
            raise ValueError(
                f"{self}: times must be above 0, and the factor between 1 and {1 / share:g}: no rate is below 0"
            )

    @property
    def calm(self) -> float:
        """The factor between bursts."""
        share = self.burst_s / (self.burst_s + self.calm_s)
        return (1 - share * self.factor) / (1 - share)

    def dispersion(self, per_second: float) -> float:
        """Variance over mean of the number of arrivals in a long time; 1 for Poisson."""
        leave_burst, leave_calm = 1 / self.burst_s, 1 / self.calm_s
        high, low = self.factor * per_second, self.calm * per_second
        spread = 2 * (high - low) ** 2 * leave_burst * leave_calm
        return 1 + spread / ((leave_burst + leave_calm) ** 2 * (high * leave_calm + low * leave_burst))


@dataclass(frozen=True)
class Load:
    """What is asked of a cluster: a rate, straight between points and level after the last, perhaps in bursts."""

    points: Sequence[tuple[float, float]]
    """(seconds from the start, requests a second), ascending in time; the first at 0."""
    seconds: float
    bursts: Bursts | None = None

    def __post_init__(self) -> None:
        times = [moment for moment, _ in self.points]
        if not times or times[0] != 0 or times != sorted(times) or any(rate < 0 for _, rate in self.points):
            raise ValueError(f"{self.points}: expected points from second 0 on, ascending, with rates of 0 or more")
        if self.seconds <= 0:
            raise ValueError(f"a load of {self.seconds} s: expected more than 0")

    def per_second(self, moments: Moments) -> Moments:
        """The rate at these moments, without bursts."""
        times, rates = zip(*self.points, strict=True)
        return np.interp(moments, times, rates)

    @property
    def peak(self) -> float:
        """The highest rate, without bursts."""
        return max(rate for _, rate in self.points)

    def moments(self, seed: int) -> Moments:
        """Arrivals: drawn at the highest rate, and kept with the probability of the rate of their moment (thinning)."""
        rng = np.random.default_rng(seed)
        highest = self.peak * (self.bursts.factor if self.bursts else 1)
        drawn = _poisson(highest, self.seconds, rng)
        rate = self.per_second(drawn)
        if self.bursts:
            rate = rate * _factors(self.bursts, drawn, self.seconds, rng)
        return drawn[rng.random(len(drawn)) * highest < rate]


def steady(per_second: float, seconds: float, bursts: Bursts | None = None) -> Load:
    """The same rate all the time."""
    return Load([(0.0, per_second)], seconds, bursts)


def _poisson(per_second: float, seconds: float, rng: np.random.Generator) -> Moments:
    """Given their number, Poisson arrivals lie evenly."""
    return np.sort(rng.random(rng.poisson(per_second * seconds)) * seconds)


def _factors(bursts: Bursts, moments: Moments, seconds: float, rng: np.random.Generator) -> Moments:
    """The factor at each moment, of a path that starts between two bursts."""
    changes: list[float] = []
    now = 0.0
    while now < seconds:
        now += rng.exponential(bursts.burst_s if len(changes) % 2 else bursts.calm_s)
        changes.append(now)
    in_burst = np.searchsorted(np.array(changes), moments, side="right") % 2 == 1
    return np.where(in_burst, bursts.factor, bursts.calm)
