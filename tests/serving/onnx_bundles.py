"""A real ONNX bundle, made by hand: a picture through two dense layers, heavy enough for its memory to be seen."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundle.evidence import Evidence
from bundle.golden import Golden, write_golden
from bundle.manifest import Artefact
from bundle.preprocess import ImageResize, Limits, load_preprocess
from bundle.store import commit, hashes, open_bundle, sha256_of, staging
from bundle.tasks.classification import ClassificationDecode, ClassificationTask
from bundle.tensors import stack, unstack
from runtime.ort import OrtRuntime
from tests.builders import LABELS, passed_evidence, png, write_fake_bundle

SIDE_PX = 32
FILE = "model.onnx"


def write_onnx_bundle(repository: Path, name: str, hidden: int) -> Path:
    """Publish a bundle whose weights take 12 KB a hidden unit."""
    preprocess = ImageResize(height_px=SIDE_PX, width_px=SIDE_PX, color="rgb")
    decode = ClassificationDecode(labels=LABELS)
    task, prepare = ClassificationTask(decode), load_preprocess(preprocess, Path())
    like = open_bundle(write_fake_bundle(repository / ".like", name)).manifest
    with staging(repository, name) as folder:
        onnx.save(_graph(hidden), folder / FILE)
        runtime = OrtRuntime(folder / FILE)
        samples = []
        for seed in range(2):
            prepared = prepare(png(seed=seed), Limits())
            row = unstack(runtime.run(stack([prepared.tensors])))[0]
            answer = task.decode(row, prepared.source, task.golden_options())
            samples.append(Golden(png(seed=seed), "image/png", prepared.tensors, row, answer))
        changes = {
            "inputs": preprocess.input_specs(),
            "outputs": task.output_specs(preprocess),
            "preprocess": preprocess,
            "decode": decode,
            "artefacts": {"fp32": _artefact(passed_evidence(sha256_of(folder / FILE)))},
            "golden": write_golden(folder, samples),
        }
        manifest = like.model_copy(update=changes)
        return commit(folder, repository, manifest.model_copy(update={"files": hashes(folder)}))


def _artefact(evidence: Evidence) -> Artefact:
    return Artefact(file=FILE, runtime="onnxruntime", precision="fp32", made="by hand", atol=1e-5, evidence=evidence)


def _graph(hidden: int) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    pixels = SIDE_PX * SIDE_PX * 3
    weights = {
        "first": rng.standard_normal((pixels, hidden), dtype=np.float32) / 1e4,
        "second": rng.standard_normal((hidden, len(LABELS)), dtype=np.float32) / 10,
        "shape": np.array([-1, pixels], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "second"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE_PX, SIDE_PX, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
