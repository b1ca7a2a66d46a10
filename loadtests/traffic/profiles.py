"""The course of the load over time, as plain functions: stages between two shares of a rate, and their length.

Knows seconds and shares. Knows nothing of Locust.
"""

from dataclasses import dataclass

from loadtests.traffic.families import TrafficError

FREE = "free"
DEFAULT_STEPS = "0.2,0.4,0.6,0.8,1.0,1.2"


@dataclass(frozen=True)
class Stage:
    """A stretch of time in which the load goes evenly from one share of the rate to another."""

    seconds: float
    first: float
    last: float


@dataclass(frozen=True)
class Profile:
    """One after the other."""

    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(stage.seconds for stage in self.stages)

    def share(self, at_s: float) -> float | None:
        """The share of the rate at a moment; None when it is over."""
        for stage in self.stages:
            if at_s < stage.seconds:
                return stage.first + (stage.last - stage.first) * at_s / stage.seconds
            at_s -= stage.seconds
        return None

    def stretched(self, factor: float) -> "Profile":
        """The same, slower or faster."""
        return Profile(tuple(Stage(stage.seconds * factor, stage.first, stage.last) for stage in self.stages))

    def starts_s(self) -> list[float]:
        """When each stage begins."""
        return [sum(stage.seconds for stage in self.stages[:i]) for i in range(len(self.stages))]


def flat(seconds: float, share: float) -> Stage:
    """The same load all the time."""
    return Stage(seconds, share, share)


PROFILES: dict[str, Profile] = {
    "calm": Profile((flat(12, 0.1),)),
    "steady": Profile((flat(25, 0.4),)),
    "ramp": Profile((Stage(25, 0.1, 0.6), flat(5, 0.6))),
    "spike": Profile((flat(8, 0.3), flat(8, 1.5), flat(16, 0.3))),
    "overload": Profile((flat(20, 1.75),)),
    "soak": Profile((flat(45, 0.4),)),
}
"""Name -> its course. `step` is made of --steps."""


def step_profile(shares: list[float], seconds: float) -> Profile:
    """Steps of one length each."""
    return Profile(tuple(flat(seconds, share) for share in shares))


def parse_steps(text: str) -> list[float]:
    """`0.5,1.0` -> shares.

    Raises:
        TrafficError: not positive numbers.
    """
    try:
        shares = [float(word) for word in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share < float("inf") for share in shares):
        raise TrafficError(f"--steps {text!r}: give positive numbers with commas between, such as {DEFAULT_STEPS}")
    return shares


def num_users(rate: float, rate_per_user: float) -> int:
    """So many make a rate; at least one."""
    return max(1, round(rate / rate_per_user))
