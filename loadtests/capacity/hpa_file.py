"""The numbers of a HorizontalPodAutoscaler from its manifest.

Knows YAML and the fields of autoscaling/v2 that matter here. Knows nothing of clusters.
"""

from pathlib import Path
from typing import Any

import yaml

from bundle.errors import RunError
from loadtests.capacity.hpa import DOWN, UP, HpaSpec, Policy, Rules

HPA_FILE = Path("k8s/autoscaling/hpa/horizontalpodautoscaler.yaml")
SUFFIXES = {"m": 1e-3, "k": 1e3, "M": 1e6}
"""Of Kubernetes' quantities, those that a number of requests may have."""


def read_hpa(path: Path) -> HpaSpec:
    """Of the one HPA in a file, on Pods metrics.

    Raises:
        RunError: no such file, no such object in it, or a metric or number of another kind.
    """
    try:
        found = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(one, dict)]
    except OSError as cause:
        raise RunError(f"{path}: {cause.strerror}") from None
    except yaml.YAMLError as cause:
        raise RunError(f"{path}: not YAML: {cause}") from None
    hpas = [one for one in found if one.get("kind") == "HorizontalPodAutoscaler"]
    if len(hpas) != 1 or hpas[0].get("apiVersion") != "autoscaling/v2":
        raise RunError(f"{path}: expected one HorizontalPodAutoscaler of autoscaling/v2, found {len(hpas)}")
    try:
        return _spec(hpas[0]["spec"])
    except (KeyError, TypeError, ValueError) as cause:
        raise RunError(f"{path}: {type(cause).__name__} {cause}; expected Pods metrics with an averageValue") from None


def _spec(spec: dict[str, Any]) -> HpaSpec:
    behavior = spec.get("behavior") or {}
    return HpaSpec(
        targets=dict(_target(metric) for metric in spec["metrics"]),
        min_replicas=int(spec.get("minReplicas", 1)),
        max_replicas=int(spec["maxReplicas"]),
        up=_rules(behavior.get("scaleUp") or {}, UP),
        down=_rules(behavior.get("scaleDown") or {}, DOWN),
    )


def _target(metric: dict[str, Any]) -> tuple[str, float]:
    if metric["type"] != "Pods":
        raise ValueError(f"a metric of type {metric['type']} is not simulated")
    return metric["pods"]["metric"]["name"], _quantity(metric["pods"]["target"]["averageValue"])


def _quantity(text: Any) -> float:
    """`16`, `500m`, `2k`."""
    number = str(text)
    factor = SUFFIXES.get(number[-1:], 1.0)
    return float(number[:-1] if factor != 1.0 else number) * factor


def _rules(given: dict[str, Any], otherwise: Rules) -> Rules:
    policies = [
        Policy(one["type"], int(one["value"]), float(one["periodSeconds"])) for one in given.get("policies", [])
    ]
    return Rules(
        window_s=float(given.get("stabilizationWindowSeconds", otherwise.window_s)),
        policies=tuple(policies) or otherwise.policies,
        select=given.get("selectPolicy", otherwise.select),
    )
