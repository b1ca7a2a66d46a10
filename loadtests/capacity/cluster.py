"""A simulated cluster: requests are spread over pods that start, fail, roll over and are scaled; event by event.

A heap of events and a loop: simpy would be one more dependency and, with a process a request, twice as slow
(docs/adr/0024). Everything is drawn from one seed. Knows pods and time. Knows nothing of objectives.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal

import numpy as np

from loadtests.capacity.arrivals import Moments
from loadtests.capacity.hpa import SYNC_S, Autoscaler, HpaSpec, Seen
from loadtests.capacity.outcome import End, Outcome
from loadtests.capacity.pod import Pod, PodSpec, Unit
from loadtests.capacity.spreading import SPREADING, Balance

DRAWN = 4096
"""Factors of service times that are drawn at once."""
QUEUE_DEPTH, IN_FLIGHT = "modelyard_queue_depth", "modelyard_in_flight"
RATE = "modelyard_requests_per_second"
"""Not a figure of the service's, but what an adapter makes of modelyard_requests_total."""


@dataclass(frozen=True)
class Scaling:
    """An HPA, and how late it sees and is obeyed."""

    hpa: HpaSpec
    sync_s: float = SYNC_S
    scrape_s: float = 15.0
    """How often Prometheus scrapes each pod."""
    average_s: float = 0.0
    """Over how long the adapter averages a figure; 0: it takes the last one."""


@dataclass(frozen=True)
class Loss:
    """Pods that die at once: a node, a zone, an out-of-memory kill."""

    at_s: float
    pods: int


@dataclass(frozen=True)
class Rollout:
    """A Deployment's RollingUpdate."""

    at_s: float
    max_surge: int = 1
    max_unavailable: int = 0


@dataclass(frozen=True)
class ClusterSpec:
    """What there is, and what happens to it."""

    pods: int
    balance: Balance = "random"
    start_s: float = 30.0
    """From the moment at which a pod is asked for to its first request: node, image, models, warming."""
    notice_s: float = 1.0
    """How long a dead pod still gets its share of requests."""
    scaling: Scaling | None = None
    losses: tuple[Loss, ...] = ()
    rollout: Rollout | None = None


State = Literal["starting", "ready", "leaving", "dead"]


@dataclass(eq=False)
class _Member:
    """A pod in the cluster."""

    pod: Pod
    state: State
    generation: int = 0
    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)


def simulate(pod: PodSpec, cluster: ClusterSpec, arrivals: Moments, seed: int = 0) -> Outcome:
    """Every request to its end."""
    return _Run(pod, cluster, arrivals, seed).run()


class _Run:
    def __init__(self, pod: PodSpec, cluster: ClusterSpec, arrivals: Moments, seed: int) -> None:
        self._pod, self._cluster = pod, cluster
        self._arrived: list[float] = arrivals.tolist()
        self._latency = [math.inf] * len(self._arrived)
        self._ends = [int(End.LOST)] * len(self._arrived)
        self._rng = np.random.default_rng(seed)
        self._factors: list[float] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._numbers = count()
        self._members: list[_Member] = []
        self._targets: list[_Member] = []
        """Those that get requests: ready ones, and dead ones that nobody has noticed."""
        self._pods: list[Pod] = []
        """Theirs."""
        self._wanted = cluster.pods
        self._generation = 0
        self._spread = SPREADING[cluster.balance](len(self._arrived), self._rng)
        self._batches: Counter[int] = Counter()
        self._pods_seen: list[tuple[float, int, int]] = []
        self._scraped: list[tuple[float, int, int]] = []

    def run(self) -> Outcome:
        for _ in range(self._cluster.pods):
            self._ready(0.0, self._add(0.0))
        self._plan()
        events, arrived, number = self._events, self._arrived, len(self._arrived)
        i = 0
        while i < number or self._has_work():
            if i < number and (not events or arrived[i] < events[0][0]):
                self._arrive(arrived[i], i)
                i += 1
            else:
                now, _, happen, what = heappop(events)
                happen(now, *what)
        return Outcome(
            arrived_s=np.array(arrived),
            latency_s=np.array(self._latency),
            ends=np.array(self._ends, dtype=np.int8),
            batches=self._batches,
            pods=tuple(self._pods_seen),
            scraped=tuple(self._scraped),
        )

    def _has_work(self) -> bool:
        return any(member.pod.in_flight for member in self._members if member.state != "dead")

    def _plan(self) -> None:
        cluster = self._cluster
        for loss in cluster.losses:
            self._at(loss.at_s, self._lose, loss.pods)
        if cluster.rollout:
            self._at(cluster.rollout.at_s, self._begin_rollout)
        if cluster.scaling:
            self._autoscaler = Autoscaler(cluster.scaling.hpa)
            self._at(self._rng.random() * cluster.scaling.sync_s, self._sync)

    def _at(self, moment: float, happen: Callable[..., None], *what: Any) -> None:
        heappush(self._events, (moment, next(self._order), happen, what))

    # Requests.

    def _arrive(self, now: float, request: int) -> None:
        if not self._pods:
            return
        member = self._targets[self._spread(self._pods, request)]
        if member.state == "dead":
            return
        if not member.pod.offer(request, now):
            self._ends[request] = End.SHED
        self._work(now, member)

    def _work(self, now: float, member: _Member) -> None:
        pod = member.pod
        while (unit := pod.take(now)) is not None:
            heappush(self._events, (now + unit.seconds, next(self._order), self._done, (member, unit)))
        for request in pod.late:
            self._ends[request] = End.LATE
        pod.late.clear()

    def _done(self, now: float, member: _Member, unit: Unit) -> None:
        if member.state == "dead":
            return
        member.pod.finish(unit)
        if unit.is_batch:
            self._batches[len(unit.entries)] += 1
            for request in unit.entries:
                self._latency[request] = now - self._arrived[request]
                self._ends[request] = End.ANSWERED
        self._work(now, member)

    def _factor(self) -> float:
        spread = self._pod.times.spread
        if not spread and not self._pod.times.exponential:
            return 1.0
        if not self._factors and self._pod.times.exponential:
            self._factors = self._rng.exponential(size=DRAWN).tolist()
        elif not self._factors:
            variance = math.log1p(spread**2)
            self._factors = self._rng.lognormal(-variance / 2, math.sqrt(variance), DRAWN).tolist()
        return self._factors.pop()

    # Pods.

    def _add(self, now: float) -> _Member:
        pod = Pod(self._pod, self._arrived, self._factor, next(self._numbers))
        member = _Member(pod, "starting", self._generation)
        self._members.append(member)
        return member

    def _start(self, now: float) -> None:
        self._at(now + self._cluster.start_s, self._ready, self._add(now))

    def _ready(self, now: float, member: _Member) -> None:
        if member.state != "starting":
            return
        member.state = "ready"
        self._aim([*self._targets, member])
        scaling = self._cluster.scaling
        if scaling:
            self._at(now + self._rng.random() * scaling.scrape_s, self._scrape, member)
        self._roll(now)
        self._note(now)

    def _leave(self, now: float, member: _Member) -> None:
        """Gets nothing new, and answers what it has."""
        if member.state == "ready":
            self._aim([one for one in self._targets if one is not member])
        member.state = "leaving"
        self._note(now)

    def _lose(self, now: float, pods: int) -> None:
        for member in self._in("ready")[:pods]:
            member.state = "dead"
            member.pod.in_flight = 0
            self._at(now + self._cluster.notice_s, self._notice, member)
            self._start(now)
        self._note(now)

    def _notice(self, now: float, member: _Member) -> None:
        self._aim([one for one in self._targets if one is not member])
        self._members.remove(member)

    def _aim(self, targets: list[_Member]) -> None:
        self._targets, self._pods = targets, [one.pod for one in targets]

    def _in(self, *states: State) -> list[_Member]:
        return [member for member in self._members if member.state in states]

    def _note(self, now: float) -> None:
        self._pods_seen.append((now, len(self._in("ready")), self._wanted))

    # Rollout.

    def _begin_rollout(self, now: float) -> None:
        self._generation += 1
        self._roll(now)

    def _roll(self, now: float) -> None:
        """As a Deployment does: never more than wanted + surge, never fewer ready than wanted - unavailable."""
        rollout = self._cluster.rollout
        if rollout is None or not self._generation:
            return
        while True:
            old = [one for one in self._in("ready") if one.generation < self._generation]
            new = [one for one in self._in("ready", "starting") if one.generation == self._generation]
            if not old and len(new) >= self._wanted:
                return
            if old and len(self._in("ready")) > self._wanted - rollout.max_unavailable:
                self._leave(now, old[0])
            elif len(new) < self._wanted and len(self._in("ready", "starting")) < self._wanted + rollout.max_surge:
                self._start(now)
            else:
                return

    # Scaling.

    def _scrape(self, now: float, member: _Member) -> None:
        scaling = self._cluster.scaling
        if scaling is None or member.state != "ready":
            return
        depth, in_flight = member.pod.gauges
        self._scraped.append((now, depth, in_flight))
        member.samples.append((now, {QUEUE_DEPTH: depth, IN_FLIGHT: in_flight, RATE: member.pod.asked}))
        oldest = now - scaling.average_s
        member.samples = [one for one in member.samples if one[0] > oldest] or member.samples[-1:]
        self._at(now + scaling.scrape_s, self._scrape, member)

    def _sync(self, now: float) -> None:
        scaling = self._cluster.scaling
        if scaling is None:
            return
        ready, starting = self._in("ready"), self._in("starting")
        figures = [_adapted(member.samples) for member in ready if member.samples]
        seen = Seen(figures, pending=len(starting), running=len(ready))
        wanted = self._autoscaler.sync(now, self._wanted, seen)
        present = len(ready) + len(starting)
        self._wanted = wanted
        for _ in range(wanted - present):
            self._start(now)
        for member in _to_go(starting, ready, present - wanted):
            self._leave(now, member)
        self._note(now)
        if now < (self._arrived[-1] if self._arrived else 0.0):
            self._at(now + scaling.sync_s, self._sync)


def _to_go(starting: list[_Member], ready: list[_Member], number: int) -> list[_Member]:
    """Those that do not serve yet go first, then the youngest."""
    return [*starting[::-1], *ready[::-1]][: max(0, number)]


def _adapted(samples: list[tuple[float, dict[str, float]]]) -> dict[str, float]:
    """What the adapter says of a pod: means of gauges, and the rate of the counter, where there are two to compare."""
    figures = {name: sum(one[name] for _, one in samples) / len(samples) for name in (QUEUE_DEPTH, IN_FLIGHT)}
    (first_s, first), (last_s, last) = samples[0], samples[-1]
    if last_s > first_s:
        figures[RATE] = (last[RATE] - first[RATE]) / (last_s - first_s)
    return figures
