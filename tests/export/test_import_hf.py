"""A transformers folder becomes a bundle that answers as its PyTorch model does; what cannot is told the cause."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs torch")
transformers = pytest.importorskip("transformers", reason="import hf needs the huggingface extra")

from bundle.errors import DataError, UnusableModel  # noqa: E402
from bundle.store import Bundle, open_bundle  # noqa: E402
from export import latency, prove  # noqa: E402
from export.hf_folder import ENCODERS, read_hf_folder  # noqa: E402
from export.import_hf import import_hf  # noqa: E402
from modelyard import main  # noqa: E402
from runtime.predictor import load_predictor  # noqa: E402
from tests.export.encoders import (  # noqa: E402
    DIM,
    NUM_POSITIONS,
    change_json,
    write_classifier,
    write_encoder,
    write_json,
    write_sentence_transformer,
)

TEXTS = ["The train leaves at nine.", "a", "안녕 😀 good!", "not very good , not very bad " * 9]
MAX_TOKENS = 24
EMBED, CLASSIFY = "sentence-embedding", "text-classification"


@pytest.fixture(scope="module")
def quick() -> Any:
    """Every artefact is kept, and nobody waits for figures of speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "BUDGET_S", 0.0)
        patch.setattr(prove, "MIN_SPEED_UP", 0.0)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_transformer(tmp_path_factory.mktemp("hf") / "encoder")


@pytest.fixture(scope="module")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Bundle:
    repository = tmp_path_factory.mktemp("models")
    return open_bundle(import_hf(folder, EMBED, repository, "tiny", max_batch_size=8))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("hf") / "classifier")


def by_the_library(folder: Path, loader: Any, text: str) -> Any:
    """One text, alone, as the library's own documentation asks a model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = loader.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"))


def test_the_vectors_are_those_of_the_library(folder: Path, bundle: Bundle) -> None:
    answers: Any = load_predictor(bundle, "fp32").predict([text.encode() for text in TEXTS])
    for text, answer in zip(TEXTS, answers, strict=True):
        vector = by_the_library(folder, transformers.AutoModel, text).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(answer.embedding, vector / vector.norm(), atol=1e-6)
    assert [answer.truncated for answer in answers] == [False, False, False, True]
    assert answers[-1].num_tokens == MAX_TOKENS


def test_all_artefacts_are_proven_against_the_pytorch_model(bundle: Bundle) -> None:
    assert list(bundle.manifest.artefacts) == ["fp32", "int8", "fp16", "int8-trt"]
    for name, artefact in bundle.manifest.artefacts.items():
        assert artefact.evidence is not None
        assert artefact.evidence.proven_against == "the PyTorch model of the folder"
        assert artefact.evidence.metric_name == "mean_cosine"
        assert (
            artefact.evidence.metric["artefact"]
            > {"fp32": 0.999999, "int8": 0.99, "fp16": 0.9999, "int8-trt": 0.99}[name]
        )


def test_the_bundle_tells_what_the_folder_says(bundle: Bundle, folder: Path) -> None:
    manifest = bundle.manifest
    assert manifest.decode.model_dump(exclude={"kind"}) == {"dim": DIM, "normalised": True, "pooling": "mean"}
    assert [spec.name for spec in manifest.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert manifest.preprocess.max_tokens == MAX_TOKENS  # type: ignore[union-attr]
    assert manifest.provenance.recipe == "import hf"
    assert manifest.provenance.arguments["sha256"].keys() == {"config.json", "model.safetensors", "tokenizer.json"}
    assert "tokenizer.json" in manifest.files
    assert "bert" in (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("quick")
def test_a_folder_may_pool_the_first_token_and_not_normalise(tmp_path: Path) -> None:
    folder = write_sentence_transformer(tmp_path / "cls", "cls_token", normalize=False)
    bundle = open_bundle(import_hf(folder, EMBED, tmp_path / "models", max_batch_size=2))
    answer: Any = load_predictor(bundle, "fp32").predict([TEXTS[0].encode()])[0]
    vector = by_the_library(folder, transformers.AutoModel, TEXTS[0]).last_hidden_state[0, 0]
    np.testing.assert_allclose(answer.embedding, vector, rtol=1e-4, atol=1e-5)
    assert (bundle.manifest.name, bundle.manifest.decode.normalised) == ("cls", False)  # type: ignore[union-attr]


@pytest.mark.usefixtures("quick")
def test_a_classifier_gives_the_scores_of_the_library(classifier: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples.txt"
    samples.write_text("\n".join(TEXTS) + "\n\n", encoding="utf-8-sig")
    folder = import_hf(classifier, CLASSIFY, tmp_path / "models", "mine", MAX_TOKENS, samples, 4)
    bundle = open_bundle(folder)
    evidence = bundle.manifest.artefacts["fp32"].evidence
    assert evidence is not None
    assert (evidence.metric_name, evidence.num_test_samples) == ("agreement", len(TEXTS))
    answers: Any = load_predictor(bundle, "fp32").predict([text.encode() for text in TEXTS])
    for text, answer in zip(TEXTS, answers, strict=True):
        scores = by_the_library(classifier, transformers.AutoModelForSequenceClassification, text).logits[0].softmax(0)
        got = {entry.label: entry.score for entry in answer.top_k}
        np.testing.assert_allclose([got[label] for label in ("bad", "so so", "good")], scores, atol=1e-6)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("model_type", ENCODERS)
def test_every_encoder_of_the_list_is_imported_with_proof(model_type: str, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder", model_type)
    manifest = open_bundle(import_hf(folder, EMBED, tmp_path / "models", max_batch_size=2)).manifest
    assert set(manifest.artefacts) == {"fp32", "int8", "fp16", "int8-trt"}, manifest.left_out


@pytest.mark.usefixtures("quick")
def test_nothing_is_downloaded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("somebody wants to go out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    import_hf(folder, EMBED, tmp_path / "models", max_batch_size=1)


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "config.json", **changes)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def modules(*types: str, path: str = "") -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "modules.json", [{"type": f"s.t.{one}", "path": path} for one in types])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (only_pickled, r"weights are pickled \(pytorch_model.bin\).*safe_serialization"),
        (without("model.safetensors"), "no model.safetensors"),
        (without("config.json"), "no config.json; this is not a transformers folder"),
        (without("tokenizer.json"), "no tokenizer.json; .*save_pretrained"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "holds a list, expected an object"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "encoder: it cannot be loaded"),
        (cut_weights, "it cannot be loaded"),
        (config(model_type="gpt2"), "model_type 'gpt2' is not supported; .*bert"),
        (config(model_type=None), "model_type None is not supported"),
        (config(auto_map={"AutoModel": "x.Y"}), "auto_map asks for Python code of its own, which is never run"),
        (config(hidden_size=64), "it cannot be loaded|its weights lack"),
        (config(num_hidden_layers=3), r"its weights lack encoder.layer.2.*random numbers"),
        (config(vocab_size=20), "it cannot be loaded"),
        (modules("Transformer", "Pooling", "Dense"), "the modules are Transformer, Pooling, Dense; supported is"),
        (modules("Transformer", "Pooling", path="../.."), "leads out of the folder"),
        (lambda f: (f / "modules.json").write_text('{"a": 1}'), "not a list of modules"),
        (without("1_Pooling/config.json"), "no config.json; sentence-transformers' pooling is not told"),
        (
            lambda f: write_json(f / "1_Pooling/config.json", {"pooling_mode_max_tokens": True}),
            "pooling is pooling_mode_max_tokens; supported is one of pooling_mode_mean_tokens",
        ),
        (
            lambda f: change_json(f / "1_Pooling/config.json", pooling_mode_cls_token=True),
            "pooling is .*pooling_mode_cls_token, .*; supported is one of|pooling is .*, pooling_mode_cls_token",
        ),
    ],
)
def test_a_folder_that_cannot_be_imported_is_refused(
    damage: Callable[[Path], Any], told: str, folder: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "encoder"))
    damage(damaged)
    with pytest.raises(UnusableModel, match=told):
        import_hf(damaged, EMBED, tmp_path / "models")
    assert not list(tmp_path.glob("models/*"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (config(architectures=["BertModel"]), r"a classifier's ends in ForSequenceClassification"),
        (config(problem_type="multi_label_classification"), "only one label a text"),
        (config(id2label={"0": "good", "1": "good", "2": "bad"}), "names two labels alike"),
        (config(id2label={"0": "good"}), "it cannot be loaded|labels"),
    ],
)
def test_a_classifier_that_cannot_be_imported_is_refused(
    damage: Callable[[Path], Any], told: str, classifier: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(classifier, tmp_path / "classifier"))
    damage(damaged)
    with pytest.raises(UnusableModel, match=told):
        import_hf(damaged, CLASSIFY, tmp_path / "models")


def test_an_encoder_is_no_classifier(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "encoder"))
    change_json(damaged / "config.json", architectures=["BertForSequenceClassification"])
    with pytest.raises(UnusableModel, match=r"its weights lack classifier.*random numbers"):
        import_hf(damaged, CLASSIFY, tmp_path / "models")


def test_small_letters_that_the_tokenizer_does_not_know_of_are_refused(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "encoder"))
    change_json(damaged / "sentence_bert_config.json", do_lower_case=True)
    change_json(damaged / "tokenizer.json", normalizer={"type": "NFC"})
    with pytest.raises(UnusableModel, match="after small letters, which sentence_bert_config"):
        import_hf(damaged, EMBED, tmp_path / "models")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"max_tokens": NUM_POSITIONS + 1}, f"max_tokens is 81; the model has positions for {NUM_POSITIONS}"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"task_id": "image-classification"}, "cannot be imported from a transformers folder"),
        ({"folder": Path("nowhere")}, "nowhere: no such folder"),
    ],
)
def test_arguments_that_cannot_be_met_are_refused(
    arguments: dict[str, Any], told: str, folder: Path, tmp_path: Path
) -> None:
    given = {"folder": folder, "task_id": EMBED, "repository": tmp_path / "models"} | arguments
    with pytest.raises(UnusableModel, match=told):
        import_hf(**given)


def test_fewer_tokens_fit_where_positions_begin_later(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "roberta", "roberta", pad_token_id=1)
    with pytest.raises(UnusableModel, match="the model has positions for 78"):
        import_hf(folder, EMBED, tmp_path / "models", max_tokens=79)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read"), (b"\n \n", "holds no text"), (b"ok\n\xff", "not UTF-8 at byte 3")]
)
def test_samples_that_cannot_be_read_are_refused(
    content: bytes | None, told: str, folder: Path, tmp_path: Path
) -> None:
    samples = tmp_path / "samples.txt"
    if content is not None:
        samples.write_bytes(content)
    with pytest.raises(DataError, match=rf"samples\.txt: .*{told}"):
        import_hf(folder, EMBED, tmp_path / "models", samples=samples)


def test_pooling_as_later_versions_write_it_and_the_licence_are_read(folder: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "encoder"))
    write_json(changed / "1_Pooling/config.json", {"pooling_mode": "cls"})
    (changed / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n", encoding="utf-8")
    read = read_hf_folder(changed, EMBED)
    assert (read.pooling, read.licence, read.max_tokens) == ("cls", "apache-2.0", MAX_TOKENS)


@pytest.mark.usefixtures("quick")
def test_the_command_ends_with_the_bundle_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["import", "hf", str(folder), "--task", EMBED, "--repository", str(tmp_path), "--name", "mine"]
    main([*arguments, "--max-batch-size", "1"])
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(tmp_path / "mine/1")
    assert "fp32: proven; mean_cosine 1.0000" in printed.err


def test_the_manifest_is_json_without_the_folders_place(bundle: Bundle, folder: Path) -> None:
    assert str(folder) not in json.dumps(bundle.manifest.model_dump(mode="json"))
