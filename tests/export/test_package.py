"""From run to bundle: whole, proven, honest about what was left out; or an error and nothing on disk."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")

import onnx

from bundle.errors import BundleError, DataError, ModelyardError, RunError
from bundle.evidence import REQUIRED_CHECKS
from bundle.manifest import digest_of
from bundle.store import Bundle, open_bundle, staging
from export.artefacts import DERIVED
from export.evaluate import Reference
from export.package import export_run, publish
from export.parity import noise_cases
from modelyard import main
from runtime.predictor import load_predictor
from runtime.replay import replay
from training.answers import checkpoint_compute
from training.checkpoint import load_checkpoint
from training.data.samples import Subset
from training.tasks import training_task

TASK = "image-classification"


def left_behind(repository: Path) -> list[Path]:
    return list(repository.rglob("*")) if repository.exists() else []


def test_a_bundle_holds_what_it_promises_and_nothing_unhashed(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest
    on_disk = {p.relative_to(tiny_bundle.folder).as_posix() for p in tiny_bundle.folder.rglob("*") if p.is_file()}
    assert on_disk == set(manifest.files) | {"manifest.json"}
    assert {"model.onnx", "MODEL_CARD.md", "golden/tensors.safetensors", "golden/answers.json"} <= on_disk
    assert (manifest.name, manifest.version, manifest.task) == ("digits_cnn", 1, "image-classification")
    assert manifest.provenance.recipe == "digits_cnn"


def test_every_artefact_that_ships_is_proven_and_the_rest_says_why_not(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest
    assert set(manifest.artefacts) | {one.artefact for one in manifest.left_out} == {"fp32", *DERIVED}
    for artefact in manifest.artefacts.values():
        assert artefact.evidence is not None
        assert artefact.evidence.shortfall() is None
        assert artefact.evidence.num_test_samples == 359
        assert set(artefact.evidence.latency.median_ms) == {1, 8}


def test_checks_are_made_in_the_order_in_which_they_explain_each_other(tiny_bundle: Bundle) -> None:
    evidence = tiny_bundle.manifest.artefacts["fp32"].evidence
    assert evidence is not None
    kinds = [check.kind for check in evidence.checks]
    assert list(dict.fromkeys(kinds)) == list(REQUIRED_CHECKS)
    subjects = " ".join(check.subject for check in evidence.checks)
    for size in (1, 3, 8):
        assert f"golden inputs, batch {size}" in subjects
        assert f"random inputs, batch {size}" in subjects


def test_fp32_answers_every_test_picture_as_the_checkpoint_does(tiny_run: Path, tiny_bundle: Bundle) -> None:
    evidence = tiny_bundle.manifest.artefacts["fp32"].evidence
    assert evidence is not None
    assert evidence.metric["artefact"] == evidence.metric["checkpoint"]
    checkpoint, _ = load_checkpoint(tiny_run)
    test = checkpoint.config.data.load().test
    predictor = load_predictor(tiny_bundle, "fp32")
    answers = predictor.predict([test.raw(i) for i in range(len(test))])
    right = sum(answer.label == checkpoint.labels[test.target(i)] for i, answer in enumerate(answers))  # type: ignore[attr-defined]
    assert right / len(test) == evidence.metric["checkpoint"]


@pytest.mark.parametrize("artefact", ["fp32", "default"])
def test_golden_samples_replay_on_what_was_published(artefact: str, tiny_bundle: Bundle) -> None:
    name = tiny_bundle.manifest.default_artefact if artefact == "default" else artefact
    replay(load_predictor(tiny_bundle, name), tiny_bundle.golden(), tiny_bundle.manifest.artefacts[name].atol)


def test_the_onnx_file_is_opset_20_with_its_weights_inside(tiny_bundle: Bundle) -> None:
    model = onnx.load(tiny_bundle.folder / "model.onnx", load_external_data=False)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [20]
    assert not [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    assert "Cast" in {node.op_type for node in model.graph.node}
    assert model.graph.node[-1].op_type == "Softmax"


def test_the_card_tells_people_metric_limits_and_origin(tiny_bundle: Bundle) -> None:
    card = (tiny_bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for text in ("# digits_cnn", "Trained by recipe", "| decoded |", "sha256", "0, 1, 2, 3"):
        assert text in card


def test_the_next_export_is_the_next_version_with_the_same_graph(tiny_run: Path, tiny_bundle: Bundle) -> None:
    folder = export_run(tiny_run, tiny_bundle.folder.parents[1], max_batch_size=8)
    again = open_bundle(folder).manifest
    assert again.version == tiny_bundle.manifest.version + 1
    assert again.files["model.onnx"] == tiny_bundle.manifest.files["model.onnx"]


def test_card_and_inspect_say_what_is_for_gpus(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", str(tiny_bundle.folder)])
    shown = capsys.readouterr().out
    card = (tiny_bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert re.search(r"^fp16 \(model\.fp16\.onnx\): fp16; of \d+ nodes that compute \d+ stay fp32", shown, re.MULTILINE)
    for text in (shown, card):
        assert "to be proven on the device" in text


def test_data_that_changed_since_training_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    path = run / "checkpoint.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'"data_sha256": ?"\w+"', f'"data_sha256": "{"0" * 64}"', text), encoding="utf-8")
    with pytest.raises(DataError, match=r"is not what .* was trained on"):
        export_run(run, tmp_path / "models")


@pytest.mark.parametrize("name", ["../x", "a b", "", ".hidden", "x/y"])
def test_a_name_that_is_no_folder_is_refused(name: str, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelyardError, match="name"):
        export_run(tiny_run, tmp_path / "models", name=name)
    assert left_behind(tmp_path) == []


def test_a_batch_of_none_is_refused_before_any_work(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="max_batch_size is 0"):
        export_run(tiny_run, tmp_path / "models", max_batch_size=0)
    assert left_behind(tmp_path) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not the folder of a finished run"):
        export_run(tmp_path, tmp_path / "models")


def test_the_command_ends_with_the_bundle_folder(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(tiny_run), "--repository", str(tmp_path / "models"), "--name", "mine"])
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(tmp_path / "models/mine/1")
    assert "fp32: proven; accuracy" in printed.err
    main(["inspect", str(tmp_path / "models/mine")])
    assert "mine version 1" in capsys.readouterr().out


def test_noise_fills_the_largest_batch_and_holds_the_extremes(tiny_run: Path, tiny_bundle: Bundle) -> None:
    _, graph = load_checkpoint(tiny_run)
    compute = checkpoint_compute(graph, ("scores",))
    cases = noise_cases(tiny_bundle.manifest, tiny_bundle.golden(), compute)
    assert len(cases.rows) == len(cases.expected) == 8
    assert cases.rows[0]["image"].max() == 0
    assert cases.rows[1]["image"].min() == 255
    assert np.unique(cases.rows[2]["image"]).size > 10
    assert len(noise_cases(tiny_bundle.manifest.model_copy(update={"max_batch_size": 1}), [], compute).rows) == 3


def test_evidence_says_what_it_is_proven_against(tiny_bundle: Bundle) -> None:
    for artefact in tiny_bundle.manifest.artefacts.values():
        assert artefact.evidence is not None
        assert artefact.evidence.proven_against == "the checkpoint it was exported from"
    card = (tiny_bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**fp32** against the checkpoint it was exported from, on cpu" in card


def test_another_reference_is_named_in_evidence_and_card(
    tiny_run: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, graph = load_checkpoint(tiny_run)
    few = Subset(checkpoint.config.data.load().test, range(20))
    score = training_task(TASK)(checkpoint.labels, checkpoint.config.preprocess).score
    itself = Reference("itself only", checkpoint_compute(graph, ("scores",)), few, score, "accuracy", "max")
    with staging(tmp_path / "models", "theirs") as folder:
        shutil.copytree(tiny_bundle.folder, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        for one in DERIVED.values():
            (folder / one.file).unlink(missing_ok=True)
        fp32 = tiny_bundle.manifest.artefacts["fp32"].model_copy(update={"evidence": None})
        changes = {"name": "theirs", "artefacts": {"fp32": fp32}, "max_batch_size": 1, "default_artefact": "fp32"}
        draft = tiny_bundle.manifest.model_copy(update=changes)
        published = open_bundle(publish(folder, tmp_path / "models", draft, itself, "Somebody's own."))
    evidence = published.manifest.artefacts["fp32"].evidence
    assert evidence is not None
    assert (evidence.proven_against, evidence.num_test_samples) == ("itself only", 20)
    assert evidence.shortfall() is None
    card = (published.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**fp32** against itself only, on cpu, 20 test samples" in card
    assert "Somebody's own." in card
    assert "asking itself only for its answers to 20 test samples" in capsys.readouterr().err


@pytest.fixture
def written_before(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle whose manifest was sealed by a Modelyard that did not know `proven_against` yet."""
    folder = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "old/digits_cnn/1"))
    path = folder / "manifest.json"
    content = json.loads(path.read_bytes())
    for artefact in content["artefacts"].values():
        del artefact["evidence"]["proven_against"]
    content["digest"] = digest_of(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_bundle_that_was_sealed_before_a_field_was_added_keeps_its_digest(written_before: Path) -> None:
    manifest = open_bundle(written_before).manifest
    evidence = manifest.artefacts["fp32"].evidence
    assert evidence is not None
    assert evidence.proven_against == "the checkpoint it was exported from"
    assert manifest.sealed().digest != manifest.digest, "with the new field, today's code would seal it differently"


def test_an_old_manifest_that_was_changed_is_refused_all_the_same(written_before: Path) -> None:
    path = written_before / "manifest.json"
    content = json.loads(path.read_bytes())
    content["provenance"]["recipe"] = "another"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BundleError, match="does not match its digest"):
        open_bundle(written_before)
