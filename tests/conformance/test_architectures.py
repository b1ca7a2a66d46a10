"""Every architecture: shapes, gradients, save and load, and export parity at its tiny size."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="architectures need the training extra")

from bundle.tensors import TensorSpec  # noqa: E402
from export.onnx import export_onnx  # noqa: E402
from runtime.ort import OrtRuntime  # noqa: E402
from training.architectures import ARCHITECTURES, architecture_config, architecture_type  # noqa: E402
from training.graph import Graph, ImageStem  # noqa: E402

SIZES_PX = (16, 24)
NUM_OUTPUTS = 3


@pytest.fixture(params=ARCHITECTURES)
def config(request: pytest.FixtureRequest):
    return architecture_type(request.param).tiny()


@pytest.mark.parametrize("size_px", SIZES_PX)
@pytest.mark.parametrize("channels", [1, 3])
def test_gives_logits_for_any_batch_and_size(config, channels: int, size_px: int) -> None:
    network = config.build(channels, NUM_OUTPUTS)
    assert network(torch.randn(2, channels, size_px, size_px)).shape == (2, NUM_OUTPUTS)


def test_every_parameter_learns(config) -> None:
    torch.manual_seed(0)
    network = config.build(3, NUM_OUTPUTS)
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    stuck = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert stuck == []


def test_the_configuration_survives_json(config) -> None:
    assert architecture_config(config.model_dump(mode="json")) == config


def test_saved_weights_give_the_same_answers(config) -> None:
    torch.manual_seed(0)
    one, other = config.build(3, NUM_OUTPUTS).eval(), config.build(3, NUM_OUTPUTS).eval()
    other.load_state_dict(one.state_dict())
    batch = torch.randn(2, 3, 16, 16)
    assert torch.equal(one(batch), other(batch))


def test_the_exported_graph_gives_the_same_answers_at_other_batch_sizes(config, tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = Graph(ImageStem(3), config.build(3, NUM_OUTPUTS), torch.nn.Softmax(dim=1)).eval()
    images = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    graph.stem.fit(images)
    inputs = (TensorSpec(name="image", dtype="uint8", shape=("batch", 16, 16, 3)),)
    outputs = (TensorSpec(name="scores", dtype="float32", shape=("batch", NUM_OUTPUTS)),)
    export_onnx(graph, inputs, outputs, tmp_path / "model.onnx")
    runtime = OrtRuntime(tmp_path / "model.onnx")
    assert (runtime.inputs, runtime.outputs) == (inputs, outputs)
    assert not (tmp_path / "model.onnx.data").exists()
    for size in (1, 3, 5):
        with torch.inference_mode():
            expected = graph(images[:size]).numpy()
        np.testing.assert_allclose(runtime.run({"image": images[:size].numpy()})["scores"], expected, atol=1e-6)
