"""Manifests of every form that requests are checked against: one input or several, fixed sizes or named ones."""

from pathlib import Path
from typing import Any

from bundle.manifest import Manifest
from bundle.preprocess import Series, TextTokens
from bundle.store import open_bundle
from bundle.tasks.series_anomaly import SeriesAnomalyDecode
from tests.builders import write_fake_bundle, write_fake_task_bundle
from tests.serving.embedder import write_fake_embedder

NUM_STEPS = 4
SERIES = b"0.5, 1, 2, 4"


def write_fake_series(repository: Path, name: str = "beats", **changes: Any) -> Path:
    """A model with one input of FP32 and two outputs, one of them a scalar a row."""
    return write_fake_task_bundle(
        repository,
        name,
        "series-anomaly-detection",
        Series(num_steps=NUM_STEPS),
        SeriesAnomalyDecode(threshold=0.5),
        [("text/csv", SERIES), ("text/csv", b"1,1,1,1"), ("text/csv", b"3,1,-1,1")],
        **changes,
    )


def image_manifest(repository: Path) -> Manifest:
    """UINT8 [batch, 8, 8, 3] -> FP32 [batch, 3]."""
    return open_bundle(write_fake_bundle(repository)).manifest


def series_manifest(repository: Path) -> Manifest:
    """FP32 [batch, 4] -> FP32 [batch], FP32 [batch, 4]."""
    return open_bundle(write_fake_series(repository)).manifest


def text_manifest(repository: Path) -> Manifest:
    """Two of INT64 [batch, tokens] -> FP32 [batch, 4]."""
    return open_bundle(write_fake_embedder(repository)).manifest


def tokens_spec(manifest: Manifest) -> TextTokens:
    """How a text model tokenises."""
    assert isinstance(manifest.preprocess, TextTokens)
    return manifest.preprocess
