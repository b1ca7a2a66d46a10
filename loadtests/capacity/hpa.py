"""How many pods a HorizontalPodAutoscaler wants: autoscaling/v2 on Pods metrics, as Kubernetes' controller computes it.

Ratio of average to target, tolerance, pods that are pending or have no figure yet, the greatest of several metrics, the
stabilisation windows, policies per period, bounds. Kubernetes' sources of pkg/controller/podautoscaler were read for it
(calcPlainMetricReplicas, stabilizeRecommendationWithBehaviors, calculateScaleUpLimitWithScalingRules). Knows figures
and time. Knows nothing of how pods serve.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

SYNC_S = 15.0
"""--horizontal-pod-autoscaler-sync-period."""
TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance."""


@dataclass(frozen=True)
class Policy:
    """At most so many pods, or per cent of the pods, within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class Rules:
    """One direction of `behavior`."""

    window_s: float
    """stabilizationWindowSeconds."""
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"


UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN = Rules(300, (Policy("Percent", 100, 15),))
"""Kubernetes' own, where the manifest says nothing."""


@dataclass(frozen=True)
class HpaSpec:
    """The manifest."""

    targets: Mapping[str, float]
    """Metric -> averageValue."""
    min_replicas: int = 1
    max_replicas: int = 10
    up: Rules = UP
    down: Rules = DOWN
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not self.targets or min(self.targets.values()) <= 0:
            raise ValueError(f"targets {dict(self.targets)}: expected at least one, each above 0")
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise ValueError(f"{self.min_replicas} to {self.max_replicas} replicas: expected 1 <= minimum <= maximum")


@dataclass(frozen=True)
class Seen:
    """The pods as the controller sees them at one moment."""

    figures: Sequence[Mapping[str, float]]
    """Of each pod that runs and has been scraped: metric -> value."""
    pending: int = 0
    """Pods whose containers do not run yet: their init containers fetch models, or no node has room."""
    running: int | None = None
    """Pods that run, those without a figure too; None: as many as there are figures."""


@dataclass
class Autoscaler:
    """The controller's memory of one HPA."""

    spec: HpaSpec
    _asked: list[tuple[float, int]] = field(default_factory=list)
    _added: list[tuple[float, int]] = field(default_factory=list)
    _removed: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, current: int, seen: Seen) -> int:
        """Pods that are wanted from now on; `current` is what was wanted until now."""
        spec = self.spec
        if not self._asked:
            self._asked.append((now, current))
        if current > spec.max_replicas:
            wanted = spec.max_replicas
        elif current < spec.min_replicas:
            wanted = spec.min_replicas
        else:
            wanted = self._within_rates(now, current, self._stable(now, current, self._by_metrics(current, seen)))
        if wanted > current:
            self._added.append((now, wanted - current))
        elif wanted < current:
            self._removed.append((now, current - wanted))
        return wanted

    def _by_metrics(self, current: int, seen: Seen) -> int:
        """The greatest proposal; without any figure nothing changes."""
        found = {name: [pod[name] for pod in seen.figures if name in pod] for name in self.spec.targets}
        running = len(seen.figures) if seen.running is None else seen.running
        proposals = [
            proposal(values, self.spec.targets[name], current, seen.pending, running - len(values), self.spec.tolerance)
            for name, values in found.items()
            if values
        ]
        wanted = max(proposals, default=current)
        is_whole = len(proposals) == len(found)
        return wanted if is_whole else max(wanted, current)  # a metric that is missing may not take pods away

    def _stable(self, now: float, current: int, wanted: int) -> int:
        """The lowest of late for more, the highest of late for fewer."""
        up_from, down_from = now - self.spec.up.window_s, now - self.spec.down.window_s
        highest = min([wanted, *(asked for moment, asked in self._asked if moment > up_from)])
        lowest = max([wanted, *(asked for moment, asked in self._asked if moment > down_from)])
        self._asked = [one for one in self._asked if one[0] > min(up_from, down_from)] + [(now, wanted)]
        return min(max(current, highest), lowest)

    def _within_rates(self, now: float, current: int, wanted: int) -> int:
        spec = self.spec
        if wanted > current:
            most = max(current, self._limit(now, current, spec.up, 1))
            return min(wanted, spec.max_replicas, most)
        if wanted < current:
            least = min(current, self._limit(now, current, spec.down, -1))
            return max(wanted, spec.min_replicas, least)
        return wanted

    def _limit(self, now: float, current: int, rules: Rules, sign: int) -> int:
        """How far the policies let it go, counted from the pods at the start of each one's period."""
        if rules.select == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            since = now - policy.period_s
            added = sum(pods for moment, pods in self._added if moment > since)
            removed = sum(pods for moment, pods in self._removed if moment > since)
            start = current - added + removed
            limits.append(
                start + sign * policy.value if policy.kind == "Pods" else _percent(start, sign * policy.value)
            )
        furthest, nearest = (max, min) if sign > 0 else (min, max)
        return (furthest if rules.select == "Max" else nearest)(limits)


def proposal(
    values: Sequence[float], target: float, current: int, pending: int, unseen: int, tolerance: float = TOLERANCE
) -> int:
    """Pods by one metric: current * (average / target), with caution for pods that say nothing yet.

    Pending pods and those without a figure count as idle where more are wanted; where fewer are wanted, those without a
    figure count as exactly busy enough.
    """
    ratio = _ratio(values, target)
    pending_count = pending if ratio > 1 else 0
    if not pending_count and not unseen:
        return current if abs(1 - ratio) <= tolerance else math.ceil(ratio * len(values))
    filled = [*values, *([target if ratio < 1 else 0.0] * unseen), *([0.0] * pending_count)]
    cautious = _ratio(filled, target)
    if abs(1 - cautious) <= tolerance or (ratio < 1 < cautious) or (cautious < 1 < ratio):
        return current
    wanted = math.ceil(cautious * len(filled))
    turned = (cautious < 1 and wanted > current) or (cautious > 1 and wanted < current)
    return current if turned else wanted


def _percent(start: int, percent: int) -> int:
    """Rounded up for more, since else nothing could grow from one pod; towards 0 for fewer."""
    moved = start * (100 + percent)
    return -(-moved // 100) if percent > 0 else moved // 100


def _ratio(values: Sequence[float], target: float) -> float:
    """Average over target; Kubernetes counts both in whole thousandths."""
    return sum(round(1e3 * value) for value in values) // len(values) / round(1e3 * target)
