"""Evidence: the measured proof that an artefact gives the checkpoint's answers, with the limit beside each figure.

Whether it passed is computed from the figures, never stored, so nobody can write "passed" beside a broken limit.
Knows figures and limits. Knows nothing of how they were measured.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from bundle.spec import Sha256, Spec

CheckKind = Literal["names", "axes", "shapes", "values", "decoded", "metric"]

REQUIRED_CHECKS: tuple[CheckKind, ...] = ("names", "axes", "shapes", "values", "decoded", "metric")
"""In the order they are made: a wrong name explains a wrong value, not the other way round."""


class Check(Spec):
    """One figure and the limit it must not exceed."""

    kind: CheckKind
    subject: str
    """What was compared: tensor, batch size, inputs, or metric and split."""
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the figure holds its limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        """One line for a table or a message."""
        verdict = "ok" if self.passed else "BROKEN"
        return f"{self.kind}, {self.subject}: {self.value:.3g} (limit {self.limit:.3g}) {verdict}"


class Latency(Spec):
    """Milliseconds a batch, by batch size, measured beside the other artefacts in one run."""

    threads: int = Field(ge=1)
    median_ms: dict[int, float]

    def speed_up(self, other: "Latency") -> float:
        """How many times faster this is than another, as the geometric mean over the batch sizes that both have.

        Raises:
            ValueError: they have no batch size in common.
        """
        common = self.median_ms.keys() & other.median_ms.keys()
        if not common:
            raise ValueError(f"no batch size in common: {sorted(self.median_ms)}, {sorted(other.median_ms)}")
        return math.exp(sum(math.log(other.median_ms[size] / self.median_ms[size]) for size in common) / len(common))


class Evidence(Spec):
    """The proof of one artefact; `sha256` binds it to the file it was measured on."""

    sha256: Sha256
    proven_against: str = "the checkpoint it was exported from"
    """Whose answers these are the same as; an imported file without a checkpoint is proven against itself only."""
    runtime: str
    device: str
    checks: tuple[Check, ...]
    metric_name: str
    metric: dict[Literal["artefact", "checkpoint"], float]
    """The task's metric on the whole test split, from raw bytes through a Predictor."""
    num_test_samples: int = Field(ge=1)
    latency: Latency
    """One processor a batch: the layout for throughput, N of them side by side."""
    parallel: Latency | None = None
    """All processors of the measuring machine on one batch: the layout for latency."""
    measured_with: dict[str, str]
    """Library versions and machine the figures come from."""

    def shortfall(self) -> str | None:
        """Why this is no proof, or None: a required check is missing or broken."""
        return shortfall(self.checks, REQUIRED_CHECKS)


def shortfall(checks: Sequence[Check], required: Sequence[CheckKind]) -> str | None:
    """Why checks are no proof, or None: a required one is missing, or any is broken."""
    kinds = {check.kind for check in checks}
    missing = [kind for kind in required if kind not in kinds]
    if missing:
        return f"its evidence lacks the checks {', '.join(missing)}"
    broken = [str(check) for check in checks if not check.passed]
    return f"its evidence holds broken limits: {'; '.join(broken)}" if broken else None
