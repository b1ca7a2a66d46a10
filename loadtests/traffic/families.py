"""Families of endpoints, as a person names them: which task each is about, and in which forms a body goes there.

Knows tasks' endpoints by name. Knows nothing of servers or of Locust.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class TrafficError(Exception):
    """The load test cannot be run as asked; the message says why, and what to do."""


@dataclass(frozen=True)
class Family:
    """One kind of client."""

    name: str
    task: str | None
    """What its models do; None: any model will do."""
    forms: tuple[str, ...]
    """Ways to write the body, each asked equally often."""


RAW, MULTIPART, JSON = "raw", "multipart", "json"
BODIES = (RAW, MULTIPART, JSON)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("classify", "image-classification", BODIES),
        Family("segment", "image-segmentation", BODIES),
        Family("detect", "object-detection", BODIES),
        Family("anomaly", "anomaly-detection", BODIES),
        Family("series", "series-anomaly-detection", BODIES),
        Family("text-classify", "text-classification", BODIES),
        Family("text-embed", "sentence-embedding", BODIES),
        Family("openai", "sentence-embedding", ("float", "base64")),
        Family("oip", None, (JSON, "binary")),
        Family("grpc", None, ("raw",)),
    )
}
"""Name -> family."""

SERVED = "served"
"""Whatever the service has, each as often."""


def parse_weights(text: str) -> dict[str, int] | None:
    """`classify=3,grpc` -> weights by family; None where whatever is served is meant.

    Raises:
        TrafficError: a family that there is not, one named twice, or a weight that is no positive whole number.
    """
    if text.strip() == SERVED:
        return None
    weights: dict[str, int] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, equals, number = word.partition("=")
        if name not in FAMILIES or name in weights:
            why = "is named twice" if name in weights else "is no family"
            raise TrafficError(f"--families {text!r}: '{name}' {why}; there are {', '.join(FAMILIES)}, or '{SERVED}'")
        if equals and not (number.isdecimal() and int(number) > 0):
            raise TrafficError(f"--families {text!r}: the weight of '{name}' must be 1, 2, ..., not {number!r}")
        weights[name] = int(number) if equals else 1
    if not weights:
        raise TrafficError(f"--families {text!r} names none; there are {', '.join(FAMILIES)}, or '{SERVED}'")
    return weights


def chosen(weights: dict[str, int] | None, available: Iterable[str], missing: dict[str, str]) -> dict[str, int]:
    """The weights of what is driven. `missing` says of the other families why they cannot be.

    Raises:
        TrafficError: a family that was asked for is missing, or nothing is there at all.
    """
    there = list(available)
    if weights is None:
        if not there:
            reasons = "; ".join(f"{name}: {why}" for name, why in missing.items())
            raise TrafficError(f"the service has no family that could be driven: {reasons}")
        return dict.fromkeys(there, 1)
    lacking = [name for name in weights if name not in there]
    if lacking:
        reasons = "; ".join(f"{name}: {missing.get(name, 'not served')}" for name in lacking)
        raise TrafficError(
            f"asked for with --families, but missing: {reasons}. There are: {', '.join(there) or 'none'}"
        )
    return weights
