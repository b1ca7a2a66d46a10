"""int8 for transformers: a scale a token, so that no row depends on its company; outliers do not drown the rest."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch", reason="export needs torch")

from bundle.tensors import Array, Tensors
from export import quantize_tokens as module
from export.quantize_tokens import quantize_tokens
from runtime.ort import OrtRuntime

ROWS, DIM = 1500, 32
OUTLIER = 60.0


def write_graph(path: Path, rng: np.random.Generator, shared: bool = False) -> None:
    """Embeddings, a gain that makes one channel far larger than the others, and two products in a row."""
    drawn = {"table": (ROWS, DIM), "first": (DIM, DIM), "second": (DIM, DIM)}
    weights = {name: rng.normal(size=shape) / shape[1] for name, shape in drawn.items()} | {"gain": np.ones(DIM)}
    weights["gain"][3] = OUTLIER
    weights["first"][3] /= OUTLIER  # as trained networks have it: large, and of no more weight than others
    second = "first" if shared else "second"
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Mul", ["embedded", "gain"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "first"], ["hidden"], "up"),
        helper.make_node("Gelu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", second], ["out"], "down"),
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "tokens"))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ("batch", "tokens", DIM))],
        [
            numpy_helper.from_array(weights[name].astype(np.float32), name)
            for name in weights
            if not shared or name != "second"
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.fixture
def rows() -> list[Tensors]:
    rng = np.random.default_rng(1)
    return [{"input_ids": rng.integers(0, ROWS, 16)} for _ in range(24)]


def run(path: Path, rows: list[Tensors]) -> Array:
    return OrtRuntime(path).run({"input_ids": np.stack([row["input_ids"] for row in rows])})["out"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    write_graph(tmp_path / "model.onnx", np.random.default_rng(0))
    return tmp_path / "model.onnx", tmp_path / "model.int8.onnx"


def error(files: tuple[Path, Path], rows: list[Tensors]) -> float:
    expected, got = (run(path, rows) for path in files)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_weights_and_tables_are_int8_and_the_file_is_small(files: tuple[Path, Path], rows: list[Tensors]) -> None:
    made = quantize_tokens(*files, rows)
    assert "2 products" in made
    model = onnx.load(files[1])
    onnx.checker.check_model(model)
    large = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2 and min(tensor.dims) > 1]
    assert {tensor.data_type for tensor in large} == {TensorProto.INT8}
    assert len(large) == 3
    assert files[1].stat().st_size < files[0].stat().st_size / 3


def test_the_answers_are_near(files: tuple[Path, Path], rows: list[Tensors]) -> None:
    quantize_tokens(*files, rows)
    assert error(files, rows) < 0.03


def test_a_row_is_the_same_alone_and_beside_rows_of_another_size(files: tuple[Path, Path], rows: list[Tensors]) -> None:
    quantize_tokens(*files, rows)
    together = run(files[1], rows)
    for i, row in enumerate(rows):
        np.testing.assert_allclose(run(files[1], [row])[0], together[i], atol=1e-5)


def test_smoothing_keeps_what_an_outlier_would_drown(files: tuple[Path, Path], rows: list[Tensors]) -> None:
    quantize_tokens(*files, rows)
    smoothed = error(files, rows)
    quantize_tokens(*files, [])
    assert error(files, rows) > 3 * smoothed


def test_weights_that_two_inputs_share_are_written_once(tmp_path: Path, rows: list[Tensors]) -> None:
    files = tmp_path / "model.onnx", tmp_path / "model.int8.onnx"
    write_graph(files[0], np.random.default_rng(0), shared=True)
    quantize_tokens(*files, rows)
    matrices = [tensor.name for tensor in onnx.load(files[1]).graph.initializer if list(tensor.dims) == [DIM, DIM]]
    assert matrices == ["first.int8"]
    assert error(files, rows) < 0.2  # there is no one smoothing for both inputs


def test_tokens_of_nothing_but_zeros_stay_zero(files: tuple[Path, Path], rows: list[Tensors]) -> None:
    model = onnx.load(files[0])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((ROWS, DIM), np.float32), "table"))
    onnx.save(model, files[0])
    quantize_tokens(*files, rows)
    assert np.all(run(files[1], rows) == 0)


def test_small_tables_stay_as_they_are(
    files: tuple[Path, Path], rows: list[Tensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_TABLE_ROWS", ROWS + 1)
    quantize_tokens(*files, rows)
    assert "table" in {tensor.name for tensor in onnx.load(files[1]).graph.initializer}
