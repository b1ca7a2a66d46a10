"""A bundle ready to answer, and raw inputs fetched once: what evaluation and comparison begin with.

Knows bundles, devices and the scorer. Knows nothing of truths or reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.store import MANIFEST_FILE, Bundle, newest, open_bundle
from bundle.tasks import TASKS
from runtime.choice import Choice, Wanted, choose
from runtime.devices import device_info, installed_version
from runtime.runtime import Placement
from scoring.scorer import Raw, Scored, Scorer

SLOTS = 2
"""Batches on a GPU at once: one computes while the next is copied."""


@dataclass(frozen=True)
class Loaded:
    """One artefact of one bundle; it answers as fully as golden samples do, for a metric needs all."""

    bundle: Bundle
    choice: Choice
    scorer: Scorer
    task: Any

    @property
    def manifest(self) -> Manifest:
        """Of the bundle."""
        return self.bundle.manifest

    def about(self) -> dict[str, Any]:
        """What it is, for reports."""
        p50_ms, p99_ms = quantiles_ms(self.scorer.batch_ms)
        evidence = self.manifest.artefacts[self.choice.artefact].evidence
        return {
            "model": self.manifest.name,
            "version": self.manifest.version,
            "digest": self.manifest.digest,
            "task": self.manifest.task,
            "artefact": self.choice.artefact,
            "precision": self.manifest.artefacts[self.choice.artefact].precision,
            "runtime": self.choice.runtime,
            "device": str(self.choice.device),
            "batch_size": self.scorer.batch_size,
            "batch_p50_ms": p50_ms,
            "batch_p99_ms": p99_ms,
            "evidence": None
            if evidence is None
            else {
                "metric": evidence.metric_name,
                "value": evidence.metric.get("artefact"),
                "num_test_samples": evidence.num_test_samples,
                "data": self.manifest.provenance.data,
                "median_ms_by_batch": {str(size): ms for size, ms in evidence.latency.median_ms.items()},
            },
        }


def load(path: Path, placement: Placement, wanted: Wanted) -> Loaded:
    """Open a bundle (a model's folder means its newest version) and load what runs best here, or what is named.

    Raises:
        BundleError, RuntimeFailed: what is wrong with it.
    """
    bundle = open_as_named(path)
    task = TASKS[bundle.manifest.task](bundle.manifest.decode)
    choice = choose(bundle, device_info(placement), wanted, installed_version)
    return Loaded(bundle, choice, Scorer(bundle, choice, with_slots(placement), task.golden_options()), task)


def open_as_named(path: Path) -> Bundle:
    """A bundle, or the newest of a model's folder. The path stays as it was given: nodes of a cluster look it up too.

    Raises:
        BundleError: not a bundle that can be trusted.
    """
    return open_bundle(path if (path / MANIFEST_FILE).exists() else newest(path))


def with_slots(placement: Placement) -> Placement:
    """The same with as many batches at once as pay on that device."""
    return replace(placement, slots=SLOTS if placement.device == "cuda" else 1)


def quantiles_ms(batch_ms: Sequence[float]) -> tuple[float | None, float | None]:
    """p50 and p99 of batches; None where there was none."""
    if not len(batch_ms):
        return None, None
    p50_ms, p99_ms = np.percentile(batch_ms, (50, 99))
    return round(float(p50_ms), 3), round(float(p99_ms), 3)


@dataclass(frozen=True)
class Fetched:
    """A raw input, or why it cannot be had; to be read as often as needed."""

    content: bytes = b""
    error: BadInput | None = None

    def __call__(self) -> bytes:
        """Its bytes.

        Raises:
            BadInput: it cannot be had.
        """
        if self.error is not None:
            raise self.error
        return self.content


def fetch(raw: Raw) -> Fetched:
    """Read a raw input once.

    Raises:
        DataError: the store fails.
    """
    try:
        return Fetched(raw())
    except BadInput as cause:
        return Fetched(error=cause)


def answered(scorer: Scorer, raws: Sequence[Fetched], chosen: Sequence[int]) -> dict[int, Scored]:
    """Answers to the chosen ones, by number."""
    return dict(zip(chosen, scorer([raws[i] for i in chosen]), strict=True))
