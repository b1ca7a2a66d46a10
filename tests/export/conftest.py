"""Exports for tests of what becomes of a file: one graph is traced once, speed is measured with the fewest runs."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def traced() -> dict[str, bytes]:
    """What `quick_export` has exported: digest of the graph, its weights and its specs -> the file."""
    return {}


@pytest.fixture
def quick_export(traced: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that was exported before gives the same file again; that the exporter does so is a test of its own."""
    from export import artefacts, latency

    honest = artefacts.export_onnx

    def remembering(graph: Any, inputs: Any, outputs: Any, path: Path) -> None:
        digest = sha256(repr((graph, inputs, outputs)).encode())
        for name, tensor in [*graph.named_parameters(), *graph.named_buffers()]:
            digest.update(name.encode() + tensor.detach().numpy().tobytes())
        key = digest.hexdigest()
        if key not in traced:
            honest(graph, inputs, outputs, path)
            traced[key] = path.read_bytes()
        path.write_bytes(traced[key])

    monkeypatch.setattr(artefacts, "export_onnx", remembering)
    monkeypatch.setattr(latency, "BUDGET_S", 0.0)
