"""An HPA while the load doubles: how many answers are late, by its targets and by how soon a new pod answers.

Knows formula and simulation. Knows nothing of servers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from loadtests.capacity.arrivals import Load
from loadtests.capacity.cluster import IN_FLIGHT, QUEUE_DEPTH, RATE, ClusterSpec, Scaling, simulate
from loadtests.capacity.figures import Growth, Model
from loadtests.capacity.formula import AVERAGE_S, SCRAPE_S, Plan, Wanted, plan
from loadtests.capacity.hpa import HpaSpec
from loadtests.capacity.needs import simulated
from loadtests.capacity.outcome import End
from loadtests.capacity.predicted import pod_of

PODS = 3
"""As many pods' worth of requests as there are at first."""
MINUTES = (1.0, 5.0, 10.0)
STARTS_S = (10.0, 30.0, 90.0)
CALM_S, AFTER_S = 90.0, 120.0
MOST_PODS = 60
SEED = 11


@dataclass(frozen=True)
class Way:
    """How an HPA is set."""

    name: str
    targets: Callable[[Plan, HpaSpec], dict[str, float]]
    """What the HPA is given."""
    with_room: bool
    """Pods are planned with room for what grows until new ones answer."""


SHORT = {QUEUE_DEPTH: "queue", IN_FLIGHT: "in flight", RATE: "requests/s"}


def of_the_manifest(planned: Plan, manifest: HpaSpec) -> dict[str, float]:
    """As k8s/autoscaling/hpa has them."""
    return dict(manifest.targets)


def by_little(planned: Plan, manifest: HpaSpec) -> dict[str, float]:
    """The same figures, with the plan's values."""
    return {IN_FLIGHT: planned.in_flight_target, QUEUE_DEPTH: planned.queue_target}


def by_rate(planned: Plan, manifest: HpaSpec) -> dict[str, float]:
    """Requests a second, with the queue as a net below."""
    return {RATE: planned.rate_target, QUEUE_DEPTH: planned.queue_target}


WAYS = (
    Way("the manifest's targets", of_the_manifest, with_room=False),
    Way("in flight by the plan", by_little, with_room=False),
    Way("requests/s by the plan", by_rate, with_room=False),
    Way("requests/s by the plan, with room", by_rate, with_room=True),
)


def growths(model: Model, manifest: HpaSpec, say: Callable[[str], None]) -> Iterator[Growth]:
    """Every way, every speed of growth, every start-up time."""
    known = simulated(model)
    rate = known.rate_within(model.limit_ms)
    if rate is None:
        say(f"{model.name}: the simulated pod holds {model.limit_ms:g} ms at no step; no growth")
        return
    for minutes in MINUTES:
        for start_s in STARTS_S:
            for way in WAYS:
                yield _grow(model, known, PODS * rate, manifest, way, minutes, start_s)
        say(f"{model.name}: doubling in {minutes:g} minutes")


def _grow(
    model: Model, known: Model, rps: float, manifest: HpaSpec, way: Way, minutes: float, start_s: float
) -> Growth:
    speed = 1 / minutes if way.with_room else 0.0
    planned = plan(known, Wanted(rps, model.limit_ms, start_s=start_s, growth_per_minute=speed, lost_pods=0))
    targets = way.targets(planned, manifest)
    hpa = replace(manifest, targets=targets, min_replicas=planned.pods, max_replicas=MOST_PODS)
    grown_at = CALM_S + 60 * minutes
    load = Load([(0, rps), (CALM_S, rps), (grown_at, 2 * rps)], grown_at + AFTER_S)
    scaling = Scaling(hpa, scrape_s=SCRAPE_S, average_s=AVERAGE_S)
    cluster = ClusterSpec(planned.pods, start_s=start_s, scaling=scaling)
    seen = simulate(pod_of(model), cluster, load.moments(SEED), SEED)
    counted = seen.arrived_s >= CALM_S
    return Growth(
        model=model.name,
        limit_ms=model.limit_ms,
        way=way.name,
        targets={SHORT.get(name, name): target for name, target in targets.items()},
        minutes=minutes,
        start_s=start_s,
        min_replicas=planned.pods,
        bad=round(float(np.mean(seen.bad(model.limit_ms)[counted])), 5),
        shed=round(float(np.mean(seen.ends[counted] == End.SHED)), 5),
        most_pods=seen.most_pods,
    )
