"""From what one pod was measured to do to the number of pods for N requests a second; every step can be read.

    pods = ceil(N / (rate of a pod within the limit * target utilisation)) + spare

docs/capacity.md explains it, and holds it against the simulation. Knows measured figures and arithmetic. Knows nothing
of how they were measured.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bundle.errors import BadInput
from loadtests.capacity.figures import Model
from loadtests.capacity.hpa import SYNC_S, TOLERANCE
from loadtests.capacity.theory import busy_within

SCRAPE_S = 15.0
"""As k8s/ sets it for Prometheus."""
AVERAGE_S = 60.0
"""Over which the adapter averages figures (k8s/autoscaling/prometheus-adapter): half of it is delay."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of the cluster."""

    rps: float
    """Requests a second at the peak: within bursts that are longer than the limit, not averaged over their pauses."""
    p99_ms: float | None = None
    """Limit; left out: the one that the model was measured with."""
    balance: Literal["random", "least"] = "random"
    """How requests find a pod: a Service picks at random, a proxy may pick the pod with the fewest in flight."""
    growth_per_minute: float = 0.0
    """How fast the load may grow beyond `rps` while an HPA follows, as a share of `rps`; 0: not beyond it."""
    start_s: float = 30.0
    """From the moment at which a pod is asked for until it answers."""
    lost_pods: int = 1
    """Pods that may be gone at once."""
    zones: int = 1
    """Zones that pods are spread over evenly; with 2 or more, one of them may be gone."""
    rollout_unavailable: int = 0
    """The Deployment's maxUnavailable, in pods."""

    @property
    def delay_s(self) -> float:
        """From more load to a pod that takes it, at worst."""
        return SCRAPE_S + AVERAGE_S / 2 + SYNC_S + self.start_s

    def __post_init__(self) -> None:
        for name, least in (("rps", 0), ("growth_per_minute", 0), ("start_s", 0), ("lost_pods", 0)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < least or (name == "rps" and not value):
                wanted = "more than 0" if name == "rps" else f"{least} or more"
                raise BadInput(f"--{name.replace('_', '-')} is {value:g}; expected {wanted}")
        if self.p99_ms is not None and not (math.isfinite(self.p99_ms) and self.p99_ms > 0):
            raise BadInput(f"--p99-ms is {self.p99_ms:g}; expected more than 0")
        if self.zones < 1 or self.rollout_unavailable < 0:
            raise BadInput(
                f"--zones is {self.zones}, --rollout-unavailable {self.rollout_unavailable}; expected at least 1 and 0"
            )


@dataclass(frozen=True)
class Plan:
    """The answer, with what it was made of."""

    model: Model
    wanted: Wanted
    limit_ms: float
    pod_rate: float
    """Of one pod within the limit, in a cluster that spreads requests as wanted."""
    utilisation: float
    """How much of that is used at `rps`."""
    working: int
    spare: int
    steps: tuple[str, ...]
    """The calculation, line by line."""

    @property
    def pods(self) -> int:
        """All."""
        return self.working + self.spare

    @property
    def rate_target(self) -> float:
        """Requests a second of a pod that does what was planned, less the tolerance within which an HPA sits still."""
        return float(f"{self.pod_rate * self.utilisation / (1 + TOLERANCE):.3g}")

    @property
    def in_flight_target(self) -> float:
        """Requests in flight on a pod that does what was planned of it (Little's law), at least a tenth."""
        rate = self.pod_rate * self.utilisation
        return max(0.1, round(rate * median_ms(self.model, rate) / 1e3, 1))

    @property
    def queue_target(self) -> float:
        """Inputs that wait on a pod where waiting is a quarter of the limit, at least 1: a net below the others."""
        return max(1.0, round(self.model.saturated_per_second * self.limit_ms / 1e3 / 4, 1))


def plan(model: Model, wanted: Wanted) -> Plan:
    """Calculate.

    Raises:
        BadInput: one pod does not hold the limit at any rate that was measured.
    """
    limit_ms = wanted.p99_ms or model.limit_ms
    single, how = _single(model, limit_ms)
    delay_s = wanted.delay_s
    utilisation = 1 / (1 + wanted.growth_per_minute * delay_s / 60)
    pod_rate, working = _in_a_cluster(model, wanted, limit_ms, single, utilisation)
    spare = _spare(wanted, working)
    steps = (
        f"one pod of '{model.name}' answers {single:.4g} requests/s with p99 within {limit_ms:g} ms "
        f"({how}; at most {model.saturated_per_second:.4g}/s, one alone takes {model.alone_ms:.3g} ms)",
        *_balance_step(wanted, single, pod_rate, working),
        *_growth_step(wanted, utilisation),
        f"working pods: ceil({wanted.rps:g} / ({pod_rate:.4g} x {utilisation:.3g})) = {working}",
        _spare_step(wanted, working, spare),
        f"pods: {working} + {spare} = {working + spare}",
    )
    return Plan(model, wanted, limit_ms, pod_rate, utilisation, working, spare, steps)


def median_ms(model: Model, rate: float) -> float:
    """Between the steps that were measured; below the lowest, from one alone; above the highest, that one's."""
    points = [(0.0, model.alone_ms), *((step.asked_per_second, step.p50_ms) for step in model.in_order)]
    for (low, low_ms), (high, high_ms) in pairwise(points):
        if low <= rate <= high:
            return low_ms + (rate - low) / (high - low) * (high_ms - low_ms)
    return points[-1][1]


def _single(model: Model, limit_ms: float) -> tuple[float, str]:
    """The rate of one pod, and where it is from."""
    measured = model.rate_within(limit_ms)
    if measured is None:
        lowest = model.in_order[0]
        raise BadInput(
            f"no pod of '{model.name}' holds a p99 of {limit_ms:g} ms: at the lowest rate that was measured, "
            f"{lowest.asked_per_second:.3g}/s, it was {lowest.p99_ms:.3g} ms, and one request alone takes "
            f"{model.alone_ms:.3g} ms; raise --p99-ms, or make the pod faster: more processors with --layout latency, "
            "a smaller artefact, a GPU"
        )
    if not model.generator_ended_first(limit_ms):
        return measured, "measured"
    calculated = _theory(model, limit_ms, 1) * model.saturated_per_second
    if calculated <= measured:
        return measured, "measured, as much as the load generator could ask"
    return calculated, f"calculated from the most it answers: the load generator ended at {measured:.4g}/s"


def _theory(model: Model, limit_ms: float, servers: int) -> float:
    return busy_within(limit_ms / 1e3, model.alone_ms / 1e3, 1 / model.saturated_per_second, servers)


def _in_a_cluster(
    model: Model, wanted: Wanted, limit_ms: float, single: float, utilisation: float
) -> tuple[float, int]:
    """A pod's rate and their number. Pods that share one queue may each be busier the more they are, which is looked
    for from few to many."""
    if wanted.balance == "random":
        return single, math.ceil(wanted.rps / (single * utilisation))
    alone = _theory(model, limit_ms, 1)
    number = 1
    while True:
        together = _theory(model, limit_ms, number)
        shared = min(single * together / alone, together * model.saturated_per_second) if alone else single
        rate = max(single, shared)
        if wanted.rps <= number * rate * utilisation:
            return rate, number
        number = max(number + 1, math.floor(wanted.rps / (model.saturated_per_second * utilisation)))


def _balance_step(wanted: Wanted, single: float, pod_rate: float, working: int) -> tuple[str, ...]:
    if wanted.balance == "random":
        return ("requests are spread at random: each pod is on its own, as it was when it was measured",)
    gained = pod_rate / single
    return (
        f"{working} pods behind a proxy that picks the least busy are nearly one queue: each may do {gained:.3g} times "
        f"as much, {pod_rate:.4g}/s (Erlang's C: the spare part grows with the square root of the number)",
    )


def _growth_step(wanted: Wanted, utilisation: float) -> tuple[str, ...]:
    if not wanted.growth_per_minute:
        return ("target utilisation: 1, since no more than that many requests come",)
    return (
        f"target utilisation: 1 / (1 + {wanted.growth_per_minute:g} a minute x {wanted.delay_s:g} s) = "
        f"{utilisation:.3g}; until new pods answer it takes scrape {SCRAPE_S:g} + half of the average "
        f"{AVERAGE_S / 2:g} + sync {SYNC_S:g} + start {wanted.start_s:g} s",
    )


def _spare(wanted: Wanted, working: int) -> int:
    by_zone = math.ceil(working / (wanted.zones - 1)) if wanted.zones > 1 else 0
    return max(by_zone, wanted.lost_pods) + wanted.rollout_unavailable


def _spare_step(wanted: Wanted, working: int, spare: int) -> str:
    zone = f"a lost zone of {wanted.zones} takes {math.ceil(working / (wanted.zones - 1))}" if wanted.zones > 1 else ""
    lost = f"{wanted.lost_pods} lost at once"
    rollout = f"a rollout takes {wanted.rollout_unavailable}"
    greater = f"the greater of: {zone}; {lost}" if zone else lost
    return f"spare pods: {greater}; {rollout} = {spare}"
