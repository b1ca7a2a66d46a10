"""Every series that a scrape can bring, with its labels: what rules, panels and runbooks may name."""

from collections import Counter

from prometheus_client import CollectorRegistry

from k8s.monitoring.expressions import of_rules
from scoring.progress import Progress
from serving.observing.families import Families, Family
from serving.observing.gpu_metrics import GPU_FAMILIES
from serving.observing.process_metrics import PROCESS_FAMILIES

TARGET = {"namespace", "job", "pod", "instance"}
"""Labels that Prometheus adds to whatever it scrapes."""
PROMETHEUS_OWN = {
    "up": set(),
    "scrape_duration_seconds": set(),
    "ALERTS": {"alertname", "alertstate", "severity", "model"},
}


def series() -> dict[str, set[str]]:
    """Name -> labels, of what the service, scoring and Prometheus itself bring; not of recording rules."""
    table = Families(CollectorRegistry()).table | GPU_FAMILIES | PROCESS_FAMILIES
    found = {name: set(labels) for name, labels in PROMETHEUS_OWN.items()}
    for name, family in table.items():
        found |= {f"{name}{ending}": labels for ending, labels in _endings(family)}
    return found | _scoring()


def recorded() -> set[str]:
    """Names of recording rules."""
    return {rule.where.partition("{")[0] for rule in of_rules() if rule.kind == "record"}


def _endings(family: Family) -> list[tuple[str, set[str]]]:
    labels = set(family.labels)
    if family.kind != "histogram":
        return [("", labels)]
    return [("_bucket", labels | {"le"}), ("_sum", labels), ("_count", labels)]


def _scoring() -> dict[str, set[str]]:
    progress = Progress("m", 2, 0)
    progress(1, Counter({"BadInput": 1}))
    progress.close()
    samples = [sample for family in progress.registry.collect() for sample in family.samples]
    return {one.name: set(one.labels) for one in samples if not one.name.endswith("_created")}
