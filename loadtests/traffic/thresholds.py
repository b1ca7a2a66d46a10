"""What is demanded of a run, from a file that is read strictly: a name nobody knows is an error, not a demand that holds.

    steady:              # a shape
      all: {wrong: 0}    # of everything together
      each: {...}        # of every family
      families:          # of one, over what `each` says
        detect: {...}

Knows numbers and their bounds. Knows nothing of how they are measured.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bundle.spec import problems
from loadtests.targets import Line, at_least, at_most
from loadtests.traffic.families import FAMILIES, TrafficError
from loadtests.traffic.profiles import PROFILES

DEFAULT = Path(__file__).with_name("thresholds.yaml")
EACH = "each"
ALL = "all"
LEAST = {"answered_share", "goodput_share", "shed_share_least"}
"""These are the better the more; all others the less."""


class Demands(BaseModel):
    """Numbers that a run must keep to; those left out are not demanded."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    wrong: float | None = Field(default=None, ge=0)
    """At most so many answers other than the golden ones."""
    failed: float | None = Field(default=None, ge=0)
    """At most so many answers that are neither good nor a refusal for load."""
    unanswered: float | None = Field(default=None, ge=0)
    """At most so many requests without an answer."""
    shed_share: float | None = Field(default=None, ge=0, le=1)
    """At most such a share of requests refused for load (503 overloaded, 504)."""
    shed_share_least: float | None = Field(default=None, ge=0, le=1)
    """At least such a share: else it was no overload, and what it shows is nothing."""
    answered_share: float | None = Field(default=None, ge=0, le=1)
    """At least such a share of the requests that fell due has a good answer."""
    goodput_share: float | None = Field(default=None, ge=0)
    """Good answers a second, over those of the same run at full speed: at least."""
    late_share: float | None = Field(default=None, ge=0, le=1)
    """At most such a share of good answers came after the deadline that went with the request."""
    p50_ms: float | None = Field(default=None, gt=0)
    """Of good answers, at most."""
    p95_ms: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)
    p50_over_calm: float | None = Field(default=None, gt=0)
    """Over the median of the same family in the calm part of the same run: at most."""
    p95_over_calm: float | None = Field(default=None, gt=0)
    p99_over_calm: float | None = Field(default=None, gt=0)
    recovery_s: float | None = Field(default=None, ge=0)
    """After a spike, at most so many seconds until no more requests are under way than before it."""
    lag_p99_ms: float | None = Field(default=None, gt=0)
    """How late the generator sent: above that it measured itself."""
    unaccounted: float | None = Field(default=None, ge=0)
    """At most so many requests that the server's counters and those here do not agree on."""
    rss_growth: float | None = Field(default=None, gt=0)
    """Memory of the server at the end over that after the first fifth: at most."""

    def given(self) -> dict[str, float]:
        """Those that are demanded."""
        return self.model_dump(exclude_none=True)


class ShapeDemands(BaseModel):
    """Of one shape."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    all: Demands = Demands()
    each: Demands = Demands()
    families: dict[str, Demands] = Field(default_factory=dict)

    def of(self, family: str) -> dict[str, float]:
        """Of one family: its own over those of each."""
        own = self.families[family].given() if family in self.families else {}
        return self.each.given() | own


def read_thresholds(path: Path) -> dict[str, ShapeDemands]:
    """Shape -> what is demanded of it.

    Raises:
        TrafficError: not readable, not YAML, a key twice, a name that nobody knows, a value out of range.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)  # noqa: S506 - a safe loader, stricter
    except (OSError, UnicodeError, yaml.YAMLError) as cause:
        raise TrafficError(f"{path}: cannot be read as YAML: {cause}") from None
    if not isinstance(content, dict) or not content:
        raise TrafficError(f"{path}: expected shapes with their thresholds, got {type(content).__name__}")
    found = {}
    for shape, demands in content.items():
        if shape not in PROFILES:
            raise TrafficError(f"{path}: '{shape}' is no shape that is judged; there are {', '.join(PROFILES)}")
        try:
            found[shape] = ShapeDemands.model_validate(demands)
        except ValidationError as cause:
            raise TrafficError(f"{path}: {shape}: {problems(cause)}") from None
        strangers = sorted(set(found[shape].families) - FAMILIES.keys())
        if strangers:
            raise TrafficError(f"{path}: {shape}: '{strangers[0]}' is no family; there are {', '.join(FAMILIES)}")
    return found


class _Strict(yaml.SafeLoader):
    """A key that comes twice is an error: which of two limits holds, nobody could tell."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """As the safe loader, but for that."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' comes twice", node.value[i][0].start_mark)
        return super().construct_mapping(node, deep)


def judge(what: str, demanded: Mapping[str, float], measured: Mapping[str, float]) -> list[Line]:
    """A line for each demand; what was not measured does not hold."""
    lines = []
    for name, limit in demanded.items():
        bound = at_least if name in LEAST else at_most
        lines.append(bound(f"{what}: {name}", limit, measured.get(name, float("nan"))))
    return lines


def judge_shape(
    shape: str, demands: ShapeDemands, whole: Mapping[str, float], families: Mapping[str, Mapping[str, float]]
) -> list[Line]:
    """All demands on one shape. A family that is named in the file and was not driven does not hold."""
    lines = judge(f"{shape}, all", demands.all.given(), whole)
    for family in dict.fromkeys([*families, *demands.families]):
        lines += judge(f"{shape}, {family}", demands.of(family), families.get(family, {}))
    return lines
