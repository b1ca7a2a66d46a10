"""Somebody's ONNX file becomes a bundle that says what it is not; bad files and specs are refused with the cause."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch", reason="export needs torch")

from bundle.errors import DataError, ParityError, UnusableModel
from bundle.store import open_bundle
from export.import_onnx import import_onnx
from export.onnx_file import NEWEST_OPSET, read_onnx
from modelyard import main
from runtime.predictor import load_predictor
from runtime.replay import replay
from tests.builders import png

LABELS = ["red", "green", "blue"]
SHAPE = ("batch", 4, 4, 3)
SPEC = {
    "task": "image-classification",
    "preprocess": {"kind": "image-resize", "height_px": 4, "width_px": 4},
    "decode": {"kind": "classification", "labels": LABELS},
    "golden": ["0.png", "1.png", "2.png"],
}
Damage = Callable[[onnx.ModelProto], object]


def graph(
    input_shape: tuple[Any, ...] = SHAPE,
    output_shape: tuple[Any, ...] = ("batch", 3),
    input_name: str = "image",
    output_name: str = "scores",
    dtype: int = TensorProto.UINT8,
    tail: tuple[str, ...] = ("Softmax",),
) -> onnx.ModelProto:
    """Mean colour, weighted, through a tail: a classifier that a person can check."""
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32) / 100, "weights")
    pooled_axes = [1, 2] if input_shape[-1] == 3 else [2, 3]
    steps = [
        ("Cast", {"to": TensorProto.FLOAT}, ()),
        ("ReduceMean", {"keepdims": 0}, ("axes",)),
        ("MatMul", {}, ("weights",)),
        *((op_type, {"axis": 1} if op_type == "Softmax" else {}, ()) for op_type in tail),
    ]
    names = [input_name, *(f"value_{i}" for i in range(len(steps) - 1)), output_name]
    nodes = [
        helper.make_node(op_type, [names[i], *extra], [names[i + 1]], **attributes)
        for i, (op_type, attributes, extra) in enumerate(steps)
    ]
    made = helper.make_graph(
        nodes,
        "mean_colour",
        [helper.make_tensor_value_info(input_name, dtype, input_shape)],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, output_shape)],
        [weights, numpy_helper.from_array(np.array(pooled_axes), "axes")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, producer_name="a test")


def write(folder: Path, model: onnx.ModelProto | bytes | None = None, **changes: Any) -> tuple[Path, Path]:
    """A file, a spec with changes, and three samples beside."""
    folder.mkdir(exist_ok=True)
    for seed in range(3):
        (folder / f"{seed}.png").write_bytes(png(seed=seed))
    model = graph() if model is None else model
    (folder / "theirs.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    kept = {key: value for key, value in (SPEC | changes).items() if value is not None}
    (folder / "spec.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return folder / "theirs.onnx", folder / "spec.yaml"


def imported(tmp_path: Path, model: onnx.ModelProto | bytes | None = None, **changes: Any):
    file, spec = write(tmp_path / "given", model, **changes)
    return open_bundle(import_onnx(file, spec, tmp_path / "models", max_batch_size=4))


def refusal(tmp_path: Path, model: onnx.ModelProto | bytes | None = None, **changes: Any) -> str:
    """What is said; nothing is left in the repository."""
    file, spec = write(tmp_path / "given", model, **changes)
    with pytest.raises(UnusableModel) as caught:
        import_onnx(file, spec, tmp_path / "models")
    assert not list((tmp_path / "models").glob("*")) if (tmp_path / "models").exists() else True
    return str(caught.value)


def test_a_bundle_says_that_it_is_proven_against_itself_only(tmp_path: Path) -> None:
    bundle = imported(tmp_path)
    manifest = bundle.manifest
    assert (manifest.name, manifest.task) == ("theirs", "image-classification")
    assert list(manifest.artefacts) == ["fp32", "fp16"]
    evidence = manifest.artefacts["fp32"].evidence
    assert evidence is not None
    assert evidence.proven_against.startswith("itself only")
    assert evidence.metric == {"artefact": 1.0, "checkpoint": 1.0}
    assert manifest.provenance.recipe == "import onnx"
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Proven against itself only" in card
    replay(load_predictor(bundle), bundle.golden(), manifest.artefacts["fp32"].atol)


def test_nothing_is_made_for_devices_that_are_not_asked_for(tmp_path: Path) -> None:
    file, spec = write(tmp_path / "given")
    bundle = open_bundle(import_onnx(file, spec, tmp_path / "models", max_batch_size=4, devices=("cpu",)))
    assert (list(bundle.manifest.artefacts), bundle.manifest.left_out) == (["fp32"], ())


def test_a_graph_that_cannot_be_fp16_is_imported_without_it_and_says_why(tmp_path: Path) -> None:
    model = graph()
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
            helper.make_node("Softmax", ["means"], ["scores"]),
        ]
    )
    manifest = imported(tmp_path, model).manifest
    assert list(manifest.artefacts) == ["fp32"]
    assert [one.artefact for one in manifest.left_out] == ["fp16"]
    assert "nothing in it is for fp16" in manifest.left_out[0].reason


def test_the_answer_is_the_files_own(tmp_path: Path) -> None:
    bundle = imported(tmp_path)
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 1] = 200
    answer: Any = load_predictor(bundle).predict([png(picture)])[0]
    powers = np.exp([0.0, 2.0, 0.0])
    assert answer.label == "green"
    assert answer.score == pytest.approx(powers[1] / powers.sum(), abs=1e-6)


def text_files(folder: Path, tokens: Any = "sequence") -> tuple[Path, Path]:
    """A mean of word vectors, as a sentence encoder; its tokenizer lies beside the spec."""
    from tests.serving.embedder import VOCABULARY, tokenizer_json

    table = np.random.default_rng(0).normal(size=(len(VOCABULARY), 2)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["embedded", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "first"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["weights", "first"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["sentence_embedding"]),
    ]
    constants = {"table": table, "last": np.array([-1]), "first": np.array([1])}
    made = helper.make_graph(
        nodes,
        "mean_of_words",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ("N", tokens))
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ("N", 2))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    file, spec = write(
        folder,
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        task="sentence-embedding",
        preprocess={"kind": "text-tokens", "vocab_size": len(VOCABULARY), "max_tokens": 8, "pad_to_multiple": 4},
        decode={"kind": "sentence-embedding", "dim": 2, "normalised": False, "pooling": "mean"},
        golden=["a.txt"],
        outputs={"embedding": "sentence_embedding"},
    )
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    (folder / "a.txt").write_text("good film", encoding="utf-8")
    return file, spec


def test_a_model_of_texts_takes_its_tokenizer_along(tmp_path: Path) -> None:
    file, spec = text_files(tmp_path / "given")
    bundle = open_bundle(import_onnx(file, spec, tmp_path / "models", max_batch_size=4))
    assert "tokenizer.json" in bundle.manifest.files
    one, other, both = load_predictor(bundle).predict([b"good", b"film", b"good film"])
    mean = (np.array(one.embedding) + np.array(other.embedding)) / 2  # type: ignore[attr-defined]
    np.testing.assert_allclose(both.embedding, mean, atol=1e-6)  # type: ignore[attr-defined]


def test_a_length_of_texts_that_is_fixed_is_refused(tmp_path: Path) -> None:
    file, spec = text_files(tmp_path / "given", tokens=8)
    with pytest.raises(UnusableModel, match="axis of size 8 where 'tokens' is expected"):
        import_onnx(file, spec, tmp_path / "models")


@pytest.mark.parametrize(
    ("content", "told"), [(None, "text-tokens needs it"), (b"{}", "given/tokenizer.json: not a tok")]
)
def test_a_tokenizer_that_is_missing_or_damaged_is_told(content: bytes | None, told: str, tmp_path: Path) -> None:
    file, spec = text_files(tmp_path / "given")
    (tmp_path / "given/tokenizer.json").unlink()
    if content is not None:
        (tmp_path / "given/tokenizer.json").write_bytes(content)
    with pytest.raises(UnusableModel, match=told):
        import_onnx(file, spec, tmp_path / "models")


def test_labelled_samples_give_an_accuracy(tmp_path: Path) -> None:
    labelled = [{"file": "0.png", "label": "red"}, {"file": "1.png", "label": "green"}]
    evidence = imported(tmp_path, evaluate=labelled).manifest.artefacts["fp32"].evidence
    assert evidence is not None
    assert evidence.metric_name == "accuracy"
    assert evidence.num_test_samples == 2


@pytest.mark.parametrize("batch", [1, "N", "unk__12", None], ids=["fixed at 1", "a letter", "a symbol", "no name"])
def test_a_batch_axis_is_renamed_and_proven_in_batches(batch: Any, tmp_path: Path) -> None:
    bundle = imported(tmp_path, graph((batch, 4, 4, 3), (batch, 3)))
    predictor = load_predictor(bundle)
    raws = [png(seed=seed) for seed in range(4)]
    assert predictor.predict(raws) == [predictor.predict([raw])[0] for raw in raws]


def test_sizes_that_the_file_leaves_open_are_filled_in(tmp_path: Path) -> None:
    imported(tmp_path, graph(("n", "h", "w", 3), ("n", "classes")))


def test_tensors_are_renamed_where_the_spec_says_so(tmp_path: Path) -> None:
    model = graph(input_name="input.1", output_name="495")
    bundle = imported(tmp_path, model, inputs={"image": "input.1"}, outputs={"scores": "495"})
    assert load_predictor(bundle).runtime.inputs == bundle.manifest.inputs


def test_a_new_name_that_an_inner_value_has_makes_it_go_out_of_the_way(tmp_path: Path) -> None:
    model = graph(output_name="495")
    for node in model.graph.node:
        node.input[:] = ["scores" if name == "value_1" else name for name in node.input]
        node.output[:] = ["scores" if name == "value_1" else name for name in node.output]
    imported(tmp_path, model, outputs={"scores": "495"})


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_normalisation_and_softmax_are_put_into_the_graph(layout: str, tmp_path: Path) -> None:
    shape = (1, 3, 4, 4) if layout == "NCHW" else (1, 4, 4, 3)
    model = graph(shape, (1, 3), dtype=TensorProto.FLOAT, tail=())
    pictures = {"layout": layout, "mean": [120.0, 110.0, 100.0], "std": [2.0, 1.0, 0.5]}
    bundle = imported(tmp_path, model, float_pictures=pictures, softmax=True)
    picture = np.full((4, 4, 3), (130, 130, 100), np.uint8)
    answer: Any = load_predictor(bundle).predict([png(picture)])[0]
    logits = (np.array([130, 130, 100]) - [120, 110, 100]) / [2, 1, 0.5] / 100
    powers = np.exp(logits)
    assert answer.label == "green"
    assert answer.score == pytest.approx(powers[1] / powers.sum(), abs=1e-5)
    assert "normalised float pictures before it and a softmax behind it" in (bundle.folder / "MODEL_CARD.md").read_text(
        encoding="utf-8"
    )


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    file, spec = write(tmp_path / "given")
    save_weights_beside(file, "weights.bin")
    bundle = open_bundle(import_onnx(file, spec, tmp_path / "models", max_batch_size=2))
    assert "weights.bin" not in bundle.manifest.files
    assert not [t.name for t in onnx.load(bundle.folder / "model.onnx", load_external_data=False).graph.initializer
                if t.external_data]  # fmt: skip


def save_weights_beside(file: Path, location: str) -> None:
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    moved = onnx.load(file, load_external_data=False)
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    file.write_bytes(moved.SerializeToString())


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../outside.bin", "a/../../outside.bin", "C:\\weights.bin", "..\\outside.bin", "", "\\\\x\\y"],
)
def test_weights_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    file, spec = write(tmp_path / "given")
    (tmp_path / "outside.bin").write_bytes(bytes(1000))
    save_weights_beside(file, location)
    with pytest.raises(UnusableModel, match=r"the weights of '.*' lie in .*inside the model's own folder"):
        import_onnx(file, spec, tmp_path / "models")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    file, spec = write(tmp_path / "given")
    save_weights_beside(file, "link.bin")
    (tmp_path / "outside.bin").write_bytes(bytes(1000))
    (tmp_path / "given/link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(UnusableModel, match="a link that leads out"):
        import_onnx(file, spec, tmp_path / "models")


def test_weights_of_constants_in_inner_graphs_are_looked_at_too(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    onnx.external_data_helper.set_external_data(tensor, location="../outside.bin")
    tensor.ClearField("raw_data")
    inner = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "inner", [], [])
    model = graph()
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    assert "weights of 'hidden' lie in '../outside.bin'" in refusal(tmp_path, model)


@pytest.mark.parametrize(
    ("damage", "told"),
    [(lambda path: path.unlink(), "there is no such file"), (lambda path: path.write_bytes(b"12"), "but it has 2")],
)
def test_weights_that_are_missing_or_cut_off_are_refused(
    damage: Callable[[Path], object], told: str, tmp_path: Path
) -> None:
    file, spec = write(tmp_path / "given")
    save_weights_beside(file, "weights.bin")
    damage(tmp_path / "given/weights.bin")
    with pytest.raises(UnusableModel, match=told):
        import_onnx(file, spec, tmp_path / "models")


def zipped(*names: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return make


class Trap:
    """Unpickling it would leave a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"junk" * 30), "not an ONNX file"),
        (lambda path: path.write_bytes(b"\x08"), "not an ONNX file"),
        (lambda path: path.write_bytes(b"\x08\x07"), "not an ONNX file, or one without nodes"),
        (lambda path: path.write_bytes(pickle.dumps(Trap())), "pickled Python"),
        (lambda path: path.write_bytes(pickle.dumps([1], protocol=2)), "pickled Python"),
        (zipped("archive/data.pkl", "archive/data/0"), "a PyTorch file"),
        (zipped("a.txt"), "a zip archive"),
        (lambda path: path.write_bytes(b"PK\x03\x04cut off"), "a zip archive"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20)), "Keras"),
        (lambda path: path.write_bytes(bytes(4) + b"TFL3" + bytes(20)), "TensorFlow Lite"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: path.write_bytes((20).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}'), "safetensors"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    ],
)
def test_a_file_that_is_something_else_is_named(make: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    file, spec = write(tmp_path / "given")
    make(file)
    with pytest.raises(UnusableModel, match=told):
        import_onnx(file, spec, tmp_path / "models")
    assert not Path("unpickled").exists()


def test_a_file_over_two_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    file, _ = write(tmp_path / "given")
    with file.open("r+b") as sparse:
        sparse.truncate(2**31 + 10)
    with pytest.raises(UnusableModel, match=r"2\.1 GB"):
        read_onnx(file)


def set_opset(model: onnx.ModelProto, version: int) -> None:
    model.opset_import[0].version = version


def set_ir(model: onnx.ModelProto, version: int) -> None:
    model.ir_version = version


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda m: m.ClearField("opset_import"), "opset_import names no version"),
        (lambda m: setattr(m.opset_import[0], "domain", "else.where"), "opset_import names no version"),
        (lambda m: set_opset(m, 5), f"opset 5; opsets 7 to {NEWEST_OPSET}"),
        (lambda m: set_opset(m, 9999), "opset 9999"),
        (lambda m: set_ir(m, 99), "IR version 99"),
        (lambda m: set_ir(m, 1), "IR version 1"),
        (lambda m: setattr(m.graph.node[0], "domain", "com.acme"), r"custom operators com\.acme\.Cast"),
        (lambda m: setattr(m.graph.node[0], "op_type", "Conjure"), "not a valid ONNX graph|cannot load"),
        (lambda m: m.graph.node[1].ClearField("input"), "not a valid ONNX graph"),
        (lambda m: m.graph.node[1].input.__setitem__(0, "nowhere"), "not a valid ONNX graph"),
        (lambda m: m.graph.initializer[0].ClearField("raw_data"), "not a valid ONNX graph"),
    ],
)
def test_a_graph_that_cannot_be_run_is_refused_with_the_cause(damage: Damage, told: str, tmp_path: Path) -> None:
    model = graph()
    damage(model)
    file, spec = write(tmp_path / "given", model)
    with pytest.raises(UnusableModel, match=told):
        import_onnx(file, spec, tmp_path / "models")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (graph(input_name="x"), ["no input image", "x: uint8", "image: uint8", "inputs: {image: x}"]),
        (graph(output_name="y"), ["no output scores", "y: float", "scores: float32", "outputs: {scores: y}"]),
        (graph(dtype=TensorProto.FLOAT), ["image: float ['batch', 4, 4, 3]", "image: uint8 ['batch', 4, 4, 3]"]),
        (graph(("batch", 3, 4, 4)), ["image: uint8 ['batch', 3, 4, 4]", "image: uint8 ['batch', 4, 4, 3]"]),
        (graph(("batch", 8, 8, 3)), ["axis of size 8 where 4 is expected"]),
        (graph((4, 4, 3)), ["image: uint8 [4, 4, 3]"]),
        (graph((2, 4, 4, 3), (2, 3)), ["axis of size 2 where 'batch' is expected"]),
        (graph(output_shape=("batch", 7)), ["scores: float ['batch', 7]", "scores: float32 ['batch', 3]"]),
    ],
)
def test_other_tensors_are_refused_with_what_is_there_and_what_is_expected(
    model: onnx.ModelProto, told: list[str], tmp_path: Path
) -> None:
    message = refusal(tmp_path, model)
    assert [part for part in told if part not in message] == [], message


def test_an_input_that_nothing_feeds_is_refused(tmp_path: Path) -> None:
    model = graph()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ("batch", 1)))
    assert "inputs that nothing here feeds: mask" in refusal(tmp_path, model)


def test_logits_are_not_taken_for_scores(tmp_path: Path) -> None:
    assert "say `softmax: true`" in refusal(tmp_path, graph(tail=()))


def test_an_answer_of_another_width_than_declared_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, graph(output_shape=("n", "classes")), decode=SPEC["decode"] | {"labels": ["a", "b"]})  # type: ignore[operator]
    assert "its answer does not fit the task" in message


def test_a_file_that_mixes_its_rows_is_no_bundle(tmp_path: Path) -> None:
    model = graph()
    model.graph.node[2].output[0] = "own"
    axes = numpy_helper.from_array(np.array([0]), "rows")
    model.graph.initializer.append(axes)
    mixing = [
        helper.make_node("ReduceMean", ["own", "rows"], ["all"], keepdims=1),
        helper.make_node("Sub", ["own", "all"], ["value_2"]),
    ]
    nodes = [*list(model.graph.node)[:3], *mixing, model.graph.node[3]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    file, spec = write(tmp_path / "given", model)
    with pytest.raises(ParityError, match=r"theirs\.onnx: .*'scores'.*batch"):
        import_onnx(file, spec, tmp_path / "models", max_batch_size=4)
    assert not list((tmp_path / "models").iterdir())


def test_a_batch_of_one_that_is_baked_in_is_refused_with_what_to_do(tmp_path: Path) -> None:
    model = graph((1, 4, 4, 3), (1, 3))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3]), "one_row"))
    model.graph.node[3].input[0] = "flat"
    flatten = helper.make_node("Reshape", ["value_2", "one_row"], ["flat"])
    nodes = [*list(model.graph.node)[:3], flatten, model.graph.node[3]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    file, spec = write(tmp_path / "given", model)
    with pytest.raises(ParityError, match="export it with a dynamic batch axis"):
        import_onnx(file, spec, tmp_path / "models", max_batch_size=4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": None}, "task: Field required"),
        ({"task": "image-poetry"}, "task 'image-poetry' is not known"),
        ({"task": "text-classification", "preprocess": {"kind": "nothing"}}, "preprocess"),
        (
            {"decode": {"kind": "sentence-embedding", "dim": 3, "normalised": True, "pooling": "mean"}},
            "does not belong",
        ),
        ({"decode": {"kind": "classification", "labels": ["one"]}}, "labels"),
        ({"golden": []}, "golden"),
        ({"colour": "blue"}, "colour: Extra inputs are not permitted"),
        ({"evaluate": [{"file": "0.png", "label": "pink"}]}, "labels that decode does not: pink"),
        ({"inputs": {"picture": "image"}}, "renames picture"),
        ({"float_pictures": {"mean": [1.0, 2.0]}}, "mean has to hold 1 or 3 numbers"),
        ({"float_pictures": {"std": [0.0]}}, "std"),
    ],
)
def test_a_spec_that_does_not_add_up_is_refused(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in refusal(tmp_path, **changes)


@pytest.mark.parametrize(
    "content",
    [b"", b"- a\n- b", b"task: [unclosed", b"\xff\xfe", b"!!python/object/apply:os.system ['touch x']", b"a: &a [*a]"],
)
def test_a_spec_that_is_no_document_is_refused_and_never_executed(content: bytes, tmp_path: Path) -> None:
    file, spec = write(tmp_path / "given")
    spec.write_bytes(content)
    with pytest.raises(UnusableModel, match=r"spec\.yaml"):
        import_onnx(file, spec, tmp_path / "models")


@pytest.mark.parametrize(
    ("golden", "told"), [("9.png", "cannot be read"), ("0.doc", "a raw input ends in"), ("junk.png", "junk.png")]
)
def test_samples_that_cannot_be_read_are_named(golden: str, told: str, tmp_path: Path) -> None:
    file, spec = write(tmp_path / "given", golden=[golden])
    (tmp_path / "given/0.doc").write_bytes(b"x")
    (tmp_path / "given/junk.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=told):
        import_onnx(file, spec, tmp_path / "models")


def test_the_command_ends_with_the_bundle_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, spec = write(tmp_path / "given")
    models = str(tmp_path / "models")
    main(["import", "onnx", str(file), "--spec", str(spec), "--repository", models, "--name", "mine"])
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "models/mine/1")
    main(["inspect", str(tmp_path / "models/mine")])
    assert "proven against itself only" in capsys.readouterr().out


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, spec = write(tmp_path / "given", b"")
    with pytest.raises(SystemExit) as ended:
        main(["import", "onnx", str(file), "--spec", str(spec)])
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"modelyard import: {file}: the file is empty\n"
