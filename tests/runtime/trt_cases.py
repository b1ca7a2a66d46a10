"""Small graphs as engines, on a simulated GPU and on a real one, and what they must answer.

Written with onnx's own helper, so that they say exactly which nodes an engine gets. What is right is ONNX Runtime's
answer on the CPU.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bundle.errors import RuntimeFailed
from bundle.tensors import Tensors
from runtime.ort import OrtRuntime
from runtime.runtime import Placement
from runtime.trt import TrtRuntime
from runtime.trt_api import Modules, installed_modules, messages_of
from tests.runtime.simulated_gpu import SimulatedGpu
from tests.runtime.simulated_trt import Profiles, simulated_modules, write_plan

ON_GPU = Placement("cuda")
BANDS = ((1, 1, 1), (2, 8, 8), (9, 32, 32))
"""Rows of the three profiles: smallest, typical, largest."""


class Case(NamedTuple):
    """A graph on disk, and the shapes it is built for."""

    graph: Path
    profiles: Profiles

    def right(self, batch: Tensors) -> Tensors:
        return reference(self.graph).run(batch)


@cache
def reference(graph: Path) -> OrtRuntime:
    return OrtRuntime(graph)


def save(
    path: Path, nodes: Sequence[Any], tensors: Mapping[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> Path:
    onnx = pytest.importorskip("onnx", reason="the small graphs are written with onnx")
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    infos = [[onnx.helper.make_tensor_value_info(*one) for one in some] for some in (inputs, outputs)]
    graph = onnx.helper.make_graph(nodes, "small", *infos, initializer=constants)
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


def image_case(folder: Path, bands: Sequence[tuple[int, int, int]] = BANDS) -> Case:
    """uint8 images -> scores, and the sum of each image as int64: only the number of rows varies."""
    onnx = pytest.importorskip("onnx", reason="the small graphs are written with onnx")
    node, kinds = onnx.helper.make_node, onnx.TensorProto
    nodes = [
        node("Cast", ["image"], ["pixels"], to=kinds.FLOAT),
        node("Flatten", ["pixels"], ["flat"], axis=1),
        node("MatMul", ["flat", "weights"], ["logits"]),
        node("Softmax", ["logits"], ["scores"], axis=1),
        node("ReduceSum", ["flat", "rows"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["total"], to=kinds.INT64),
    ]
    weights = np.random.default_rng(0).standard_normal((8 * 8 * 3, 3), np.float32) / 1000
    graph = save(
        folder / "image.onnx",
        nodes,
        {"weights": weights, "rows": np.array([1], np.int64)},
        [("image", kinds.UINT8, ["batch", 8, 8, 3])],
        [("scores", kinds.FLOAT, ["batch", 3]), ("total", kinds.INT64, ["batch"])],
    )
    return Case(graph, [{"image": [(rows, 8, 8, 3) for rows in band]} for band in bands])


def text_case(folder: Path) -> Case:
    """int64 ids and a bool mask -> a vector a token and one a text: the number of tokens varies too."""
    onnx = pytest.importorskip("onnx", reason="the small graphs are written with onnx")
    node, kinds = onnx.helper.make_node, onnx.TensorProto
    nodes = [
        node("Cast", ["ids"], ["numbers"], to=kinds.FLOAT),
        node("Cast", ["mask"], ["seen"], to=kinds.FLOAT),
        node("Mul", ["numbers", "seen"], ["masked"]),
        node("Unsqueeze", ["masked", "last"], ["column"]),
        node("Mul", ["column", "weights"], ["hidden"]),
        node("ReduceSum", ["hidden", "time"], ["pooled"], keepdims=0),
    ]
    graph = save(
        folder / "text.onnx",
        nodes,
        {
            "weights": np.array([1, 2, -1, 0.5], np.float32),
            "last": np.array([2], np.int64),
            "time": np.array([1], np.int64),
        },
        [("ids", kinds.INT64, ["batch", "time"]), ("mask", kinds.BOOL, ["batch", "time"])],
        [("hidden", kinds.FLOAT, ["batch", "time", 4]), ("pooled", kinds.FLOAT, ["batch", 4])],
    )
    sizes = [[(1, 1), (1, 16), (1, 64)], [(2, 1), (4, 16), (8, 64)]]
    return Case(graph, [{"ids": one, "mask": one} for one in sizes])


def doubling_case(folder: Path, kind: str) -> Case:
    """y = x + x in one type."""
    onnx = pytest.importorskip("onnx", reason="the small graphs are written with onnx")
    element = getattr(onnx.TensorProto, kind)
    nodes = [onnx.helper.make_node("Add", ["x", "x"], ["y"])]
    graph = save(folder / f"{kind}.onnx", nodes, {}, [("x", element, ["batch", 4])], [("y", element, ["batch", 4])])
    return Case(graph, [{"x": [(1, 4), (2, 4), (8, 4)]}])


def images(num_rows: int, seed: int = 0) -> Tensors:
    return {"image": np.random.default_rng(seed).integers(0, 256, (num_rows, 8, 8, 3), dtype=np.uint8)}


def texts(num_rows: int, num_tokens: int, seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 1000, (num_rows, num_tokens), dtype=np.int64)
    return {"ids": ids, "mask": rng.random((num_rows, num_tokens)) < 0.8}


def assert_right(case: Case, batch: Tensors, got: Tensors) -> None:
    right = case.right(batch)
    assert list(got) == list(right)
    for name, array in right.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        np.testing.assert_allclose(got[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


class SimulatedPlatform:
    """Plans and runtimes on a simulated GPU."""

    name = "simulated"

    def __init__(self, gpu: SimulatedGpu | None = None) -> None:
        self.gpu = gpu or SimulatedGpu()
        self.modules = simulated_modules(self.gpu)

    def load(self, case: Case, placement: Placement = ON_GPU, **told: Any) -> TrtRuntime:
        return TrtRuntime(self.plan(case, **told), placement, self.modules)

    def plan(self, case: Case, **told: Any) -> Path:
        return write_plan(case.graph.with_suffix(".plan"), case.graph, case.profiles, **told)


class RealPlatform:
    """Plans built and run by TensorRT."""

    name = "real"

    def __init__(self) -> None:
        self.modules: Modules = installed_modules()

    def load(self, case: Case, placement: Placement = ON_GPU) -> TrtRuntime:
        return TrtRuntime(self.plan(case), placement, self.modules)

    def plan(self, case: Case) -> Path:
        path = case.graph.with_suffix(".plan")
        if not path.exists():
            path.write_bytes(build(self.modules.trt, case))
        return path


def build(trt: Any, case: Case) -> bytes:
    """A plan by the real builder, or by TensorRT-RTX's: as exact as fp32 can be."""
    logger = messages_of(trt).logger  # TensorRT keeps the first it is given
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(case.graph)), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    for shapes in case.profiles:
        profile = builder.create_optimization_profile()
        for name, (smallest, typical, largest) in shapes.items():
            profile.set_shape(name, tuple(smallest), tuple(typical), tuple(largest))
        assert config.add_optimization_profile(profile) >= 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, "the builder gave nothing; its log says why"
    return bytes(plan)


@cache
def why_no_real_gpu() -> str:
    """Why nothing can be run by TensorRT here; "" where it can."""
    if importlib.util.find_spec("tensorrt") is None:
        return "tensorrt is not installed"
    try:
        cuda = installed_modules().cuda
    except RuntimeFailed as cause:
        return str(cause)
    error, count = cuda.cudaGetDeviceCount()
    return "" if error == cuda.cudaError_t.cudaSuccess and count else f"no GPU: {error.name}"
