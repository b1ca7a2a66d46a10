"""What does not hold its limits is left out with the figure, or there is no bundle; which artefact is the default."""

import re
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export needs torch")

from bundle.errors import ParityError, UnusableModel
from bundle.evidence import Latency
from bundle.manifest import Manifest
from bundle.store import open_bundle
from bundle.tensors import Tensors
from export import artefacts, package, prove
from export.artefacts import DERIVED
from export.package import export_run
from export.tolerance import TOLERANCES, tolerance
from modelyard import main

pytestmark = pytest.mark.usefixtures("quick_export")

TASK = "image-classification"


def left_behind(repository: Path) -> list[Path]:
    return list(repository.rglob("*")) if repository.exists() else []


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
