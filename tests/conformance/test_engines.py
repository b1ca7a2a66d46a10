"""Every graph that we export becomes an engine: all architectures and tasks at tiny size, each artefact for GPUs.

Built by TensorRT-RTX, which needs no GPU and knows fewer operators than TensorRT. That a plan gives right answers only
a GPU can show (`modelyard prove`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="graphs are exported from torch")
trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX belongs to the dev extra")

from bundle.manifest import Artefact  # noqa: E402
from bundle.preprocess import Preprocess, TextTokens  # noqa: E402
from bundle.tasks import TASKS  # noqa: E402
from bundle.tasks.sentence_embedding import SentenceEmbeddingDecode  # noqa: E402
from export.artefacts import make_artefacts  # noqa: E402
from export.engine_profiles import profiles  # noqa: E402
from export.onnx_nodes import read_nodes  # noqa: E402
from export.tensorrt import build_plan  # noqa: E402
from tests.conformance.test_architectures import Line, cases  # noqa: E402
from training.tasks import TASKS as TRAINED  # noqa: E402

MAX_BATCH_SIZE = 32
FOR_GPUS = ("fp32", "fp16", "int8-trt")


@dataclass(frozen=True)
class Made:
    """One model's artefacts, on disk."""

    folder: Path
    preprocess: Preprocess
    artefacts: dict[str, Artefact]

    def path(self, name: str) -> Path:
        return self.folder / self.artefacts[name].file


def _from_architecture(case: Any) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        line = Line(case, folder)
        specs = line.preprocess.input_specs(), line.meaning.output_specs(line.preprocess)
        return Made(
            folder, line.preprocess, make_artefacts(line.graph, folder, case.task_id, *specs, line.rows()).artefacts
        )

    return make


def _sentence_encoder(folder: Path) -> Made:
    transformers = pytest.importorskip("transformers", reason="the encoder needs the huggingface extra")
    from export.hf_graph import SentenceEncoder
    from tests.export.encoders import DIM, VOCABULARY, write_encoder

    spec = TextTokens(vocab_size=len(VOCABULARY), max_tokens=48, token_type_ids=True)
    model = transformers.AutoModel.from_pretrained(write_encoder(folder / "encoder"), attn_implementation="eager")
    graph = SentenceEncoder(model, tuple(one.name for one in spec.input_specs()), "mean", True)
    outputs = TASKS["sentence-embedding"](SentenceEmbeddingDecode(dim=DIM, normalised=True, pooling="mean"))
    rng = np.random.default_rng(0)
    rows = [spec.row(rng.integers(0, spec.vocab_size, length).tolist()) for length in (3, 9, 20, 40)]
    inputs = spec.input_specs()
    made = make_artefacts(graph, folder, "sentence-embedding", inputs, outputs.output_specs(spec), rows)
    return Made(folder, spec, made.artefacts)


ONE_WAY = [*cases(every_preprocess=False)]
GRAPHS = {f"{case.architecture}-{case.task_id}": _from_architecture(case) for case in ONE_WAY}
GRAPHS["sentence-encoder"] = _sentence_encoder


def test_every_trained_task_has_a_graph_here() -> None:
    assert {case.task_id for case in ONE_WAY} == set(TRAINED)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Each model exported and converted once; the tests of one file run in one process."""
    there: dict[str, Made] = {}

    def get(name: str) -> Made:
        if name not in there:
            there[name] = GRAPHS[name](tmp_path_factory.mktemp(name))
        return there[name]

    return get


@pytest.mark.parametrize("artefact", FOR_GPUS)
@pytest.mark.parametrize("name", GRAPHS)
def test_the_artefact_becomes_an_engine(name: str, artefact: str, made: Callable[[str], Made]) -> None:
    one = made(name)
    assert one.artefacts[artefact].device in ("any", "cuda")
    plan = build_plan(trt, one.path(artefact), profiles(one.preprocess, MAX_BATCH_SIZE))
    assert plan.content
    assert len(plan.built_with["profiles"].split("; ")) == len(("1", "2..8", "9..32"))


@pytest.mark.parametrize("name", GRAPHS)
def test_an_error_could_name_the_layer_of_any_node(name: str, made: Callable[[str], Made]) -> None:
    nodes = read_nodes(made(name).path("fp32"))
    assert nodes
    assert [node for node in nodes if not node.layer] == []
