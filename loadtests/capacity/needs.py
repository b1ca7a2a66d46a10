"""The formula held against the simulation: pods by the formula, and the fewest that hold the objective, by pattern.

Within the simulation, from one pod's rate to the cluster's size: how far a simulated pod is from a real one is another
question, which each measured step answers. Knows patterns, formula and simulation. Knows nothing of servers.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from loadtests.capacity.arrivals import Bursts, Load, Moments, steady
from loadtests.capacity.cluster import ClusterSpec, Loss, Rollout, simulate
from loadtests.capacity.figures import Model, Need
from loadtests.capacity.formula import Wanted, plan
from loadtests.capacity.outcome import Objective
from loadtests.capacity.pod import PodSpec
from loadtests.capacity.predicted import pod_of
from loadtests.capacity.spreading import Balance

PODS = 6
"""As many pods' worth of requests as the patterns have at their peak."""
SECONDS = 120.0
START_S = 30.0
ZONES = 3
SEED = 7
BALANCES: tuple[Balance, ...] = ("random", "least")


@dataclass(frozen=True)
class Pattern:
    """A load, and what happens meanwhile."""

    name: str
    load: Callable[[float], Load]
    """Of the rate that is planned for."""
    wanted: Callable[[Wanted], Wanted] = lambda wanted: wanted
    """What is told to the formula."""
    happens: Callable[[ClusterSpec], ClusterSpec] = lambda cluster: cluster


FAST = Bursts(factor=3, burst_s=0.1, calm_s=0.9)
SLOW = Bursts(factor=2, burst_s=5, calm_s=15)


def _day(peak: float) -> Load:
    """From a third to the peak and back, a day in two minutes."""
    return Load([(0, peak / 3), (40, peak), (70, peak), (110, peak / 3)], SECONDS)


def _spike(peak: float) -> Load:
    """Three times as much from one second to the next, for half a minute."""
    return Load([(0, peak / 3), (60, peak / 3), (60.5, peak), (90, peak), (90.5, peak / 3)], SECONDS)


def _lose(share: float) -> Callable[[ClusterSpec], ClusterSpec]:
    """A share of the pods, at least one, at second 60."""
    return lambda cluster: replace(cluster, losses=(Loss(60, max(1, math.ceil(cluster.pods * share - 1e-9))),))


def _roll(cluster: ClusterSpec) -> ClusterSpec:
    """With maxSurge 0 and maxUnavailable 1: one pod fewer all the time."""
    return replace(cluster, rollout=Rollout(30, max_surge=0, max_unavailable=1), start_s=5)


PATTERNS = (
    Pattern("steady", lambda rps: steady(rps, SECONDS), lambda wanted: replace(wanted, lost_pods=0)),
    Pattern("a day", _day, lambda wanted: replace(wanted, lost_pods=0)),
    Pattern("spike x 3", _spike, lambda wanted: replace(wanted, lost_pods=0)),
    Pattern(
        "bursts x 3 of 0.1 s",
        lambda rps: steady(rps / FAST.factor, SECONDS, FAST),
        lambda wanted: replace(wanted, lost_pods=0),
    ),
    Pattern(
        "bursts x 2 of 5 s", lambda rps: steady(rps / SLOW.factor, SECONDS, SLOW), lambda w: replace(w, lost_pods=0)
    ),
    Pattern("a pod dies at the peak", lambda rps: steady(rps, SECONDS), happens=_lose(0)),
    Pattern(
        f"a zone of {ZONES} dies at the peak",
        lambda rps: steady(rps, SECONDS),
        lambda wanted: replace(wanted, zones=ZONES),
        _lose(1 / ZONES),
    ),
    Pattern(
        "rollout at the peak",
        lambda rps: steady(rps, SECONDS),
        lambda wanted: replace(wanted, lost_pods=0, rollout_unavailable=1),
        _roll,
    ),
)


def simulated(model: Model) -> Model:
    """The model as if the simulated pod had been measured."""
    steps = [
        step.model_copy(
            update={
                "p50_ms": step.simulated_p50_ms,
                "p99_ms": step.simulated_p99_ms,
                "shed": round((step.simulated_shed or 0) * step.requests),
                "failed": 0,
                "generator_busy": 0.0,
            }
        )
        for step in model.steps
        if step.simulated_p99_ms is not None
    ]
    return model.model_copy(update={"steps": tuple(steps)})


def needs(model: Model, say: Callable[[str], None]) -> Iterator[Need]:
    """Every pattern, spread in both ways."""
    pod, known = pod_of(model), simulated(model)
    rate = known.rate_within(model.limit_ms)
    if rate is None:
        say(f"{model.name}: the simulated pod holds {model.limit_ms:g} ms at no step; no patterns")
        return
    for pattern in PATTERNS:
        load = pattern.load(PODS * rate)
        arrivals = load.moments(SEED)
        for balance in BALANCES:
            wanted = pattern.wanted(Wanted(PODS * rate, model.limit_ms, balance=balance, start_s=START_S))
            by_formula = plan(known, wanted).pods
            least, worst = _fewest(pod, pattern, balance, arrivals, Objective(model.limit_ms), by_formula)
            say(f"{model.name}, {pattern.name}, {balance}: {by_formula} by the formula, {least} in the simulation")
            yield Need(
                pattern=pattern.name,
                model=model.name,
                balance=balance,
                per_second=round(PODS * rate, 1),
                limit_ms=model.limit_ms,
                by_formula=by_formula,
                least=least,
                worst_share=round(worst, 5),
            )


def _fewest(
    pod: PodSpec, pattern: Pattern, balance: Balance, arrivals: Moments, objective: Objective, first: int
) -> tuple[int, float]:
    """The fewest pods that hold it, looked for one by one from the formula's number, and the share at that number."""

    def worst(pods: int) -> float:
        cluster = pattern.happens(ClusterSpec(pods, balance=balance, start_s=START_S))
        return simulate(pod, cluster, arrivals, SEED).worst_window(objective)

    at_formula = worst(first)
    pods = first
    if at_formula > objective.share:
        while worst(pods) > objective.share:
            pods += 1
    else:
        while pods > 1 and worst(pods - 1) <= objective.share:
            pods -= 1
    return pods, at_formula
