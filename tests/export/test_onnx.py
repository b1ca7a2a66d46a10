"""The exported file: at the opset that engines take, and with nothing of the machine that wrote it."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="graphs are exported from torch")

import onnx  # noqa: E402

from bundle.tensors import TensorSpec  # noqa: E402
from export.onnx import OPSET, export_onnx  # noqa: E402

X = TensorSpec(name="x", dtype="float32", shape=("batch", 4))


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, 4)

    def forward(self, *inputs: "torch.Tensor") -> "torch.Tensor":
        return torch.softmax(self.head(inputs[0]), dim=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(Network(), (X,), (X.model_copy(update={"name": "y"}),), path)
    return path


def test_the_opset_is_the_one_that_tensorrt_builds(path: Path) -> None:
    assert [entry.version for entry in onnx.load(path).opset_import if not entry.domain] == [OPSET]


def test_a_node_knows_its_layer_and_no_path_of_this_machine(path: Path) -> None:
    properties = [{one.key: one.value for one in node.metadata_props} for node in onnx.load(path).graph.node]
    assert any("head" in one["pkg.torch.onnx.name_scopes"] for one in properties)
    assert str(Path(__file__).parent).encode() not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()
