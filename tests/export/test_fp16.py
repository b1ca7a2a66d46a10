"""fp16: half the size, the same ends, fp32 where it matters, nothing clipped in silence, and rounding that shows."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

pytest.importorskip("torch", reason="export needs torch")

from bundle.errors import UnusableModel
from bundle.store import Bundle
from bundle.tensors import Array, Tensors
from export.fp16 import convert_to_fp16
from export.rehearse import rehearsal
from runtime.ort import OrtRuntime

DIM = 32
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
ROWS: list[Tensors] = [{"x": np.random.default_rng(i).normal(size=DIM).astype(np.float32)} for i in range(4)]


def write(path: Path, nodes: list[NodeProto], weights: dict[str, Array] | None = None) -> Path:
    """A graph x -> y, both float [batch, DIM]; `weights` beside a matrix `w` and its transpose `v`."""
    matrix = np.random.default_rng(0).normal(size=(DIM, DIM)).astype(np.float32) / DIM
    held = {"w": matrix, "v": matrix.T.copy()} | (weights or {})
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ("batch", DIM))],
        [helper.make_tensor_value_info("y", FLOAT, ("batch", DIM))],
        [numpy_helper.from_array(array, name) for name, array in held.items() if name in read],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def node(op: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], f"{op}.{output}", **attributes)


def between(*nodes: NodeProto) -> list[NodeProto]:
    """Nodes a -> b between two products, so that they lie at none of the ends."""
    return [node("MatMul", "x w", "a"), *nodes, node("MatMul", "b v", "y")]


def converted(tmp_path: Path, nodes: list[NodeProto], weights: dict[str, Array] | None = None) -> tuple[Any, str]:
    """The model, and how it was made; checked, and near to fp32."""
    source = write(tmp_path / "model.onnx", nodes, weights)
    made = convert_to_fp16(source, tmp_path / "model.fp16.onnx", ROWS)
    model = onnx.load(tmp_path / "model.fp16.onnx")
    onnx.checker.check_model(model, full_check=True)
    expected, got = (run(tmp_path / name, ROWS) for name in ("model.onnx", "model.fp16.onnx"))
    np.testing.assert_allclose(got, expected, atol=0.01 * np.abs(expected).max())
    return model, made


def run(path: Path, rows: list[Tensors]) -> Array:
    return OrtRuntime(path).run({"x": np.stack([row["x"] for row in rows])})["y"]


def types(model: onnx.ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model).graph
    found = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def kinds(model: onnx.ModelProto, op: str) -> set[int]:
    """Types of all floats that nodes of this kind read and write."""
    known = types(model)
    names = {name for one in model.graph.node if one.op_type == op for name in (*one.input, *one.output) if name}
    return {known[name] for name in names} & {FLOAT, HALF}


def test_the_file_of_a_network_is_half_as_large_and_takes_and_gives_the_same(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    source, target = tiny_bundle.folder / "model.onnx", tmp_path / "model.fp16.onnx"
    made = convert_to_fp16(source, target, [sample.inputs for sample in tiny_bundle.golden()])
    weights = [sum(tensor.ByteSize() for tensor in onnx.load(path).graph.initializer) for path in (source, target)]
    assert weights[1] < 0.52 * weights[0]
    runtime = OrtRuntime(target)
    assert (runtime.inputs, runtime.outputs) == (tiny_bundle.manifest.inputs, tiny_bundle.manifest.outputs)
    model = onnx.load(target)
    assert kinds(model, "Conv") == kinds(model, "Gemm") == {HALF}
    assert kinds(model, "Softmax") == kinds(model, "ReduceMean") == kinds(model, "Div") == {FLOAT}
    assert {one.op_type for one in model.graph.node if "image" in one.input} == {"Cast"}
    for op in ("Softmax", "ReduceMean", "Div"):
        assert f"1 {op}" in made


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([node("Softmax", "a", "b", axis=-1)], {}),
        ([node("LayerNormalization", "a gain", "b", axis=-1)], {"gain": np.ones(DIM, np.float32)}),
        ([node("ReduceL2", "a axis", "c"), node("Div", "a c", "b")], {"axis": np.array([1])}),
        ([node("Exp", "a", "b")], {}),
    ],
)
def test_what_fp16_does_not_bear_runs_in_fp32_and_is_named(
    nodes: list[NodeProto], weights: dict[str, Array], tmp_path: Path
) -> None:
    model, made = converted(tmp_path, between(*nodes), weights)
    op = nodes[0].op_type
    assert kinds(model, op) == {FLOAT}
    assert f"1 {op}" in made
    assert kinds(model, "MatMul") == {HALF}


@pytest.mark.parametrize("op", ["Relu", "Gelu", "Identity", "Sigmoid"])
def test_the_rest_runs_in_fp16(op: str, tmp_path: Path) -> None:
    model, made = converted(tmp_path, between(node(op, "a", "b")))
    assert kinds(model, op) == {HALF}
    assert op not in made


def test_two_fp32_nodes_in_a_row_and_beside_each_other_share_one_value_that_is_not_rounded_between(
    tmp_path: Path,
) -> None:
    inside = [node("Exp", "a", "c"), node("Softmax", "a", "d"), node("Exp", "c", "e"), node("Mul", "d e", "b")]
    model, _ = converted(tmp_path, between(*inside))
    first, second = (one for one in model.graph.node if one.op_type == "Exp")
    assert second.input[0] == first.output[0]
    assert first.input[0] == next(one.input[0] for one in model.graph.node if one.op_type == "Softmax")
    names = [name for one in model.graph.node for name in one.output]
    assert len(names) == len(set(names))


def test_a_constant_beyond_fp16_stays_fp32_until_what_bounds_it(tmp_path: Path) -> None:
    """As attention masks its scores: the lowest float is added, and a softmax makes zero of it."""
    mask = np.zeros(DIM, np.float32)
    mask[3] = np.finfo(np.float32).min
    masked = [node("Add", "a mask", "c"), node("Identity", "c", "d"), node("Softmax", "d", "e"), node("Relu", "e", "b")]
    model, made = converted(tmp_path, between(*masked), {"mask": mask})
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(held["mask"], mask)
    assert kinds(model, "Add") == kinds(model, "Identity") == kinds(model, "Softmax") == {FLOAT}
    assert kinds(model, "Relu") == {HALF}
    assert "beyond fp16's range (1 Add, 1 Identity, 1 Softmax)" in made


def test_weights_beyond_fp16_are_not_clipped(tmp_path: Path) -> None:
    large = np.eye(DIM, dtype=np.float32)
    large[0, 0] = 1e5
    small = np.eye(DIM, dtype=np.float32) * 1e-3
    nodes = [node("MatMul", "x small", "s"), node("MatMul", "s large", "t"), node("MatMul", "t small", "y")]
    model, _ = converted(tmp_path, nodes, {"large": large, "small": small})
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert held["large"].max() == np.float32(1e5)
    for array in held.values():
        assert np.isfinite(array).all()


def test_an_epsilon_under_fp16s_resolution_stays_what_it_is(tmp_path: Path) -> None:
    epsilon = np.array(1e-12, np.float32)
    model, made = converted(tmp_path, between(node("Add", "a epsilon", "b")), {"epsilon": epsilon})
    assert kinds(model, "Add") == {FLOAT}
    assert "under fp16's resolution (1 Add)" in made


def test_small_weights_among_large_ones_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    weights = np.eye(DIM, dtype=np.float32)
    weights[0, 1] = 1e-12
    model, _ = converted(tmp_path, [node("MatMul", "x w", "a"), node("MatMul", "a u", "y")], {"u": weights})
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert held["u.fp16"][0, 1] == 0


def test_values_that_came_near_the_largest_on_the_rows_stay_fp32(tmp_path: Path) -> None:
    nodes = between(node("Mul", "a much", "c"), node("Relu", "c", "d"), node("Mul", "d little", "b"))
    weights = {"much": np.array(6e4, np.float32), "little": np.array(1e-3, np.float32)}
    model, made = converted(tmp_path, nodes, weights)
    assert kinds(model, "Relu") == {FLOAT}
    assert "beyond fp16's range" in made


def test_a_constant_that_both_kinds_read_is_there_in_both_forms(tmp_path: Path) -> None:
    shift = np.full(DIM, 1 / 3, np.float32)
    nodes = [node("Add", "x shift", "c"), node("MatMul", "c w", "a"), node("Add", "a shift", "b")]
    model, _ = converted(tmp_path, [*nodes, node("MatMul", "b v", "y")], {"shift": shift})
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(held["shift"], shift)
    np.testing.assert_array_equal(held["shift.fp16"], shift.astype(np.float16))


def test_scales_of_a_resize_stay_fp32_whose_operator_wants_them_so(tmp_path: Path) -> None:
    rows = [node("Unsqueeze", "a first", "c"), node("Resize", "c  scales", "d", mode="nearest")]
    rows[1].input[:] = ["c", "", "scales"]
    nodes = between(*rows, node("Squeeze", "d first", "b"))
    model, _ = converted(tmp_path, nodes, {"first": np.array([1]), "scales": np.ones(3, np.float32)})
    resize = next(one for one in model.graph.node if one.op_type == "Resize")
    known = types(model)
    assert (known[resize.input[0]], known[resize.input[2]]) == (HALF, FLOAT)


def test_constants_that_are_written_as_nodes_are_rounded_like_the_others(tmp_path: Path) -> None:
    written = helper.make_node("Constant", [], ["third"], "c", value_float=1 / 3)
    model, _ = converted(tmp_path, [written, *between(node("Mul", "a third", "b"))])
    assert kinds(model, "Mul") == {HALF}
    assert "Constant" not in {one.op_type for one in model.graph.node}


def refusal(tmp_path: Path, nodes: list[NodeProto]) -> str:
    source = write(tmp_path / "model.onnx", nodes)
    with pytest.raises(UnusableModel) as refused:
        convert_to_fp16(source, tmp_path / "model.fp16.onnx", ROWS)
    assert not (tmp_path / "model.fp16.onnx").exists()
    return str(refused.value)


def test_a_graph_with_branches_is_refused(tmp_path: Path) -> None:
    branch = helper.make_graph([node("Relu", "a", "r")], "then", [], [helper.make_tensor_value_info("r", FLOAT, None)])
    choice = node("If", "yes", "b", then_branch=branch, else_branch=branch)
    yes = helper.make_node("Constant", [], ["yes"], "yes", value=numpy_helper.from_array(np.array(True)))
    assert "If in it" in refusal(tmp_path, [yes, *between(choice)])


def test_an_operator_that_nobody_knows_is_refused_by_its_name(tmp_path: Path) -> None:
    strange = helper.make_node("Wonder", ["a"], ["b"], "w", domain="com.microsoft")
    assert "Wonder 'w': the type of its output 'b' is not known" in refusal(tmp_path, between(strange))


def test_a_graph_without_anything_for_fp16_is_refused(tmp_path: Path) -> None:
    assert "nothing in it is for fp16" in refusal(tmp_path, [node("Softmax", "x", "y")])


def test_the_rehearsal_rounds_and_overflows_as_a_gpu_does_where_a_cpu_would_not(tmp_path: Path) -> None:
    """80,000 in the middle: the plain file carries it through, since CPUs compute fp16 in fp32."""
    weights = {"up": np.eye(DIM, dtype=np.float32) * 200, "down": np.eye(DIM, dtype=np.float32) * 1e-3}
    source = write(
        tmp_path / "m.onnx",
        [node("MatMul", "x up", "a"), node("Relu", "a", "b"), node("MatMul", "b down", "y")],
        weights,
    )
    convert_to_fp16(source, tmp_path / "m.fp16.onnx", ROWS)
    rehearsed = rehearsal(tmp_path / "m.fp16.onnx", tmp_path / "rehearsed.onnx")
    large: list[Tensors] = [{"x": np.full(DIM, 400, np.float32)}]
    np.testing.assert_allclose(run(tmp_path / "m.fp16.onnx", large), 80, rtol=1e-3)
    assert not np.isfinite(run(rehearsed, large)).any()
    usual: list[Tensors] = [{"x": np.full(DIM, 1 / 3, np.float32)}]
    rounded = np.float16(np.float16(np.float16(1 / 3) * np.float16(200)) * np.float16(1e-3))
    np.testing.assert_array_equal(run(rehearsed, usual), np.full((1, DIM), rounded, np.float32))


def test_the_rehearsal_of_a_file_without_fp16_computes_the_same(tmp_path: Path) -> None:
    source = write(tmp_path / "m.onnx", between(node("Relu", "a", "b")))
    np.testing.assert_array_equal(run(rehearsal(source, tmp_path / "r.onnx"), ROWS), run(source, ROWS))
