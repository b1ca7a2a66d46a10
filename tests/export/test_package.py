"""From run to bundle: whole, proven, honest about what was left out; or an error and nothing on disk."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")

import onnx

from bundle.errors import BundleError, DataError, ModelyardError, ParityError, RunError, UnusableModel
from bundle.evidence import REQUIRED_CHECKS, Latency
from bundle.manifest import Manifest, digest_of
from bundle.store import Bundle, open_bundle, staging
from bundle.tensors import Tensors
from export import artefacts, package, prove
from export.artefacts import DERIVED
from export.evaluate import Reference
from export.package import export_run, publish
from export.parity import noise_cases
from export.tolerance import TOLERANCES, tolerance
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


def test_a_broken_limit_raises_names_tensor_error_limit_and_sample_and_leaves_nothing(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = tolerance(TASK, "fp32").model_copy(update={"atol": 0.0, "random_atol": 0.0})
    monkeypatch.setitem(TOLERANCES[TASK], "fp32", strict)
    with pytest.raises(ParityError) as broken:
        export_run(tiny_run, tmp_path / "models")
    assert re.search(r"model\.onnx: values: 'scores', golden inputs, batch 1.*sample \d+.*limit 0", str(broken.value))
    assert left_behind(tmp_path / "models") == []


def test_a_graph_that_lost_its_normalisation_is_caught(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = artefacts.export_onnx

    def forgetful(graph, inputs, outputs, path):  # type: ignore[no-untyped-def]
        mean = graph.stem.mean.clone()
        graph.stem.mean.zero_()
        honest(graph, inputs, outputs, path)
        graph.stem.mean.copy_(mean)

    monkeypatch.setattr(artefacts, "export_onnx", forgetful)
    with pytest.raises(ParityError, match="values: 'scores'"):
        export_run(tiny_run, tmp_path / "models")
    assert left_behind(tmp_path / "models") == []


def test_an_int8_that_breaks_its_limit_is_left_out_with_the_figure(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = tolerance(TASK, "int8").model_copy(update={"atol": 0.0})
    monkeypatch.setitem(TOLERANCES[TASK], "int8", strict)
    monkeypatch.setattr(prove, "MIN_SPEED_UP", 0.0)
    manifest = open_bundle(export_run(tiny_run, tmp_path / "models", devices=("cpu",))).manifest
    assert (list(manifest.artefacts), manifest.default_artefact) == (["fp32"], "fp32")
    assert re.search(r"values: 'scores'.*over the limit 0", manifest.left_out[0].reason)
    assert "model.int8.onnx" not in manifest.files


def test_an_int8_that_is_no_faster_is_left_out_with_the_figure(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prove, "MIN_SPEED_UP", 1e9)
    manifest = open_bundle(export_run(tiny_run, tmp_path / "models", devices=("cpu",))).manifest
    assert list(manifest.artefacts) == ["fp32"]
    assert re.search(r"no faster than fp32: [\d.]+x \(batch 1 [\d.e-]+ ms", manifest.left_out[0].reason)


def test_the_fastest_proven_artefact_is_the_default(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prove, "MIN_SPEED_UP", 0.0)
    lenient = tolerance(TASK, "int8").model_copy(update={"disagreement_share": 1.0, "max_metric_drop": 1.0})
    monkeypatch.setitem(TOLERANCES[TASK], "int8", lenient)  # three epochs leave many pictures between two labels
    times = {"fp32": Latency(threads=1, median_ms={1: 2.0}), "int8": Latency(threads=1, median_ms={1: 1.0})}
    monkeypatch.setattr(prove, "measure", lambda *_: times)
    manifest = open_bundle(export_run(tiny_run, tmp_path / "models", devices=("cpu",))).manifest
    assert list(manifest.artefacts) == ["fp32", "int8"]
    assert manifest.default_artefact == "int8"


@pytest.fixture
def for_gpus(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Manifest]:
    """An export for GPUs alone; three epochs leave many pictures between two labels, so int8 is held loosely."""
    lenient = tolerance(TASK, "int8-trt").model_copy(update={"disagreement_share": 1.0, "max_metric_drop": 1.0})
    monkeypatch.setitem(TOLERANCES[TASK], "int8-trt", lenient)
    return lambda: open_bundle(export_run(tiny_run, tmp_path / "models", max_batch_size=8, devices=("cuda",))).manifest


def test_artefacts_for_gpus_hold_every_check_on_the_cpu_and_need_not_be_faster_there(
    for_gpus: Callable[[], Manifest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prove, "MIN_SPEED_UP", 1e9)
    manifest = for_gpus()
    assert list(manifest.artefacts) == ["fp32", "fp16", "int8-trt"]
    told = capsys.readouterr().err
    for name in ("fp16", "int8-trt"):
        artefact = manifest.artefacts[name]
        assert artefact.device == "cuda"
        assert artefact.evidence is not None
        assert artefact.evidence.shortfall() is None
        assert (artefact.evidence.device, artefact.evidence.parallel) == ("cpu", None)
        assert "to be proven on the device" in artefact.evidence.measured_with["rehearsed"]
        assert re.search(f"^{name}: holds its limits on a CPU.*to be proven on the device", told, re.MULTILINE)


def test_an_artefact_for_gpus_is_never_the_default(
    for_gpus: Callable[[], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = (Latency(threads=1, median_ms={1: ms}) for ms in (9.0, 0.001))
    honest = prove.measure
    monkeypatch.setattr(
        prove, "measure", lambda *a, **k: {name: slow if name == "fp32" else fast for name in honest(*a, **k)}
    )
    assert for_gpus().default_artefact == "fp32"


def test_an_fp16_that_breaks_its_limit_is_left_out_with_the_figure(
    for_gpus: Callable[[], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES[TASK], "fp16", tolerance(TASK, "fp16").model_copy(update={"atol": 0.0}))
    manifest = for_gpus()
    assert list(manifest.artefacts) == ["fp32", "int8-trt"]
    assert re.search(r"values: 'scores'.*over the limit 0", manifest.left_out[0].reason)
    assert "model.fp16.onnx" not in manifest.files


def test_an_artefact_that_cannot_be_made_is_left_out_with_the_reason(
    for_gpus: Callable[[], Manifest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(source: Path, target: Path, calibration: list[Tensors]) -> str:
        target.write_bytes(b"half of it")
        raise UnusableModel("a loop in it")

    monkeypatch.setitem(DERIVED, "fp16", changed(DERIVED["fp16"], make=refuse))
    manifest = for_gpus()
    assert [(one.artefact, one.reason) for one in manifest.left_out] == [("fp16", "cannot be made: a loop in it")]
    assert "model.fp16.onnx" not in manifest.files
    assert "fp16: left out: cannot be made: a loop in it" in capsys.readouterr().err


def test_a_file_that_the_engine_refuses_is_left_out(
    for_gpus: Callable[[], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(source: Path, target: Path, calibration: list[Tensors]) -> str:
        target.write_bytes(b"no graph")
        return "damaged"

    monkeypatch.setitem(DERIVED, "int8-trt", changed(DERIVED["int8-trt"], make=damaged))
    manifest = for_gpus()
    assert "onnxruntime cannot load it" in manifest.left_out[0].reason
    assert "model.int8-trt.onnx" not in manifest.files


def test_the_command_leaves_out_devices_that_it_is_not_asked_for(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(tiny_run), "--repository", str(tmp_path / "models"), "--devices", "cpu"])
    manifest = open_bundle(Path(capsys.readouterr().out.splitlines()[-1])).manifest
    assert set(manifest.artefacts) | {one.artefact for one in manifest.left_out} == {"fp32", "int8"}


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


def test_calibration_sees_no_picture_that_was_held_out(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensors] = []
    honest = DERIVED["int8"]
    watched = changed(honest, make=lambda *given: (seen.extend(given[2]), honest.make(*given))[1])
    monkeypatch.setattr(package, "NUM_CALIBRATION", 10_000)
    monkeypatch.setitem(DERIVED, "int8", watched)
    bundle = open_bundle(export_run(tiny_run, tmp_path / "models", devices=("cpu",)))
    calibrated = {row["image"].tobytes() for row in seen}
    assert len(seen) == 1295
    assert not calibrated & {sample.inputs["image"].tobytes() for sample in bundle.golden()}


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
