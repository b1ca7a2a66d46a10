"""Every runtime keeps the laws: a row in a batch equals the row alone, specs are told, a wrong input is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import RuntimeFailed
from bundle.preprocess import ImageResize
from bundle.tensors import TensorSpec
from runtime.fake import write_fake
from runtime.runtime import ON_CPU, RUNTIMES, Placement, Runtime, runtime_class
from tests.runtime.simulated_trt import simulated_modules, write_plan

INPUTS = (TensorSpec(name="image", dtype="uint8", shape=("batch", 8, 8, 3)),)
OUTPUTS = (TensorSpec(name="scores", dtype="float32", shape=("batch", 3)),)


def write_onnx(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    torch = pytest.importorskip("torch", reason="the tiny graph is exported from torch")
    from export.onnx import export_onnx
    from training.architectures.cnn import CnnConfig
    from training.graph import Graph, ImageStem

    torch.manual_seed(0)
    graph = Graph(
        ImageStem(3), CnnConfig.tiny().build(ImageResize(height_px=8, width_px=8), 3), torch.nn.Softmax(dim=1)
    )
    export_onnx(graph, inputs, outputs, path)


def write_engine(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    write_onnx(path.with_suffix(".onnx"), inputs, outputs)
    bands = [(1, 1, 1), (2, 8, 8)]
    write_plan(path, path.with_suffix(".onnx"), [{"image": [(rows, 8, 8, 3) for rows in band]} for band in bands])


ARTEFACTS = {"onnxruntime": write_onnx, "tensorrt": write_engine, "fake": write_fake}
"""How to make a tiny artefact of each runtime."""
PLACEMENTS = {"tensorrt": Placement("cuda", slots=2, graph_batches=(1, 4))}
"""Where a runtime runs that knows no CPU; on a simulated GPU."""


def test_every_runtime_has_an_artefact_here() -> None:
    assert set(ARTEFACTS) == set(RUNTIMES)


@pytest.fixture(params=RUNTIMES)
def key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    modules = simulated_modules()
    monkeypatch.setattr("runtime.trt.installed_modules", lambda: modules)
    yield request.param
    assert modules.trt.gpu.misuses == []


@pytest.fixture
def runtime(key: str, tmp_path: Path) -> Runtime:
    ARTEFACTS[key](tmp_path / "artefact", INPUTS, OUTPUTS)
    return runtime_class(key)(tmp_path / "artefact", PLACEMENTS.get(key, ON_CPU))


def rows(num_rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_rows, 8, 8, 3), dtype=np.uint8)


def test_tells_its_specs(runtime: Runtime) -> None:
    got, declared = (*runtime.inputs, *runtime.outputs), (*INPUTS, *OUTPUTS)
    assert len(got) == len(declared)
    assert all(map(TensorSpec.fits, got, declared))


def test_is_alive(runtime: Runtime) -> None:
    assert runtime.dead_because == ""


@pytest.mark.parametrize("num_rows", [1, 3, 8])
def test_a_row_is_the_same_alone_and_in_a_batch(runtime: Runtime, num_rows: int) -> None:
    batch = rows(num_rows)
    together = runtime.run({"image": batch})["scores"]
    for i in range(num_rows):
        alone = runtime.run({"image": batch[i : i + 1]})["scores"][0]
        np.testing.assert_allclose(alone, together[i], atol=1e-6)


def test_outputs_fit_their_specs(runtime: Runtime) -> None:
    outputs = runtime.run({"image": rows(3)})
    assert [spec.mismatch(outputs[spec.name]) for spec in runtime.outputs] == [None]
    np.testing.assert_allclose(outputs["scores"].sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    "batch",
    [
        {"image": rows(1).astype(np.float32)},
        {"image": rows(1)[..., :1]},
        {"image": rows(1)[0]},
        {"picture": rows(1)},
    ],
    ids=["dtype", "shape", "rank", "name"],
)
def test_a_wrong_input_is_refused(runtime: Runtime, batch: dict[str, np.ndarray]) -> None:
    with pytest.raises(RuntimeFailed):
        runtime.run(batch)


def test_a_file_that_is_no_artefact_is_refused_by_name(key: str, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(RuntimeFailed, match="junk"):
        runtime_class(key)(tmp_path / "junk", PLACEMENTS.get(key, ON_CPU))
