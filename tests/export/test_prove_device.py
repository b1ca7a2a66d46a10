"""`modelyard prove`: what stands has a record that serving chooses by; what fails has none, whatever it had before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.engines import EngineRecord, engines_folder, read_records, write_record
from bundle.errors import BundleError, DataError, DeviceLost, RuntimeFailed
from bundle.manifest import Provenance
from bundle.store import Bundle
from bundle.tensors import Tensors
from export import device_commands
from export.device_proof import Candidate, bench, prepare_proof, prove_candidates, reference_predictor
from export.noise import noise
from export.prove_device import Ask, find_held_out, prove_bundle, table
from modelyard import main
from runtime.choice import ANYTHING, choose
from tests.export.benches import H200, L4, VERSION, few_runs, gpu_bench, lost, off, right

__all__ = ["few_runs"]
UNSCORED = Ask(test_split="no")


def records(bundle: Bundle) -> list[EngineRecord]:
    found, wrong = read_records(bundle)
    assert wrong == []
    return found


def with_plan(bundle: Bundle, device: Any = H200, plan: str = "nvidia-h200-trt11.4.0.fp32.plan") -> Path:
    """A plan that was proven on a device, with its record."""
    folder = engines_folder(bundle)
    folder.mkdir(exist_ok=True)
    path = folder / plan
    path.write_bytes(b"kernels")
    present = gpu_bench(bundle, device)
    proof = prepare_proof(bundle, present, reference_predictor(bundle, present), None, "not scored")
    candidate = Candidate("fp32", "tensorrt", path, plan, {"tf32": "off"})
    (outcome,) = prove_candidates(proof, [candidate], lambda _: None)
    write_record(folder, outcome.record(bundle, present))
    return path


def test_what_is_proven_on_this_cpu_is_chosen_by_that_proof(fake_bundle: Bundle) -> None:
    present = bench("cpu")
    (outcome,), (path,) = prove_bundle(fake_bundle, present, UNSCORED)
    (record,) = records(fake_bundle)
    assert path == engines_folder(fake_bundle) / f"{present.device.slug}-fake.fp32.json"
    assert {check.kind for check in record.evidence.checks} == {"names", "axes", "shapes", "values", "decoded"}
    assert record.evidence.proven_against.startswith("'fp32' on ")
    assert record.evidence.num_samples == len(fake_bundle.manifest.golden)
    assert record.evidence.measured_with["test_split"] == "not scored: not asked for"
    assert list(record.evidence.latency.median_ms) == [1]  # of 1, 8, 32: this bundle is proven up to 4
    assert outcome.refused == ""
    chosen = choose(fake_bundle, present.device, ANYTHING, present.version)
    assert (chosen.artefact, chosen.latency) == ("fp32", record.evidence.latency)
    assert chosen.parallel == record.evidence.parallel
    assert (chosen.parallel is not None) == (present.device.num_cpus > 1)
    assert "proven on" in chosen.why


def test_it_is_held_to_what_was_recorded_and_to_what_fp32_answers_here(fake_bundle: Bundle) -> None:
    prove_bundle(fake_bundle, gpu_bench(fake_bundle), UNSCORED)
    (record,) = records(fake_bundle)
    subjects = " ".join(check.subject for check in record.evidence.checks if check.kind == "values")
    assert record.device == H200
    for expected in ("golden inputs, batch 4", "golden inputs against 'fp32' on this CPU, batch 3", "random inputs"):
        assert expected in subjects


def test_what_answers_otherwise_is_refused_with_its_figure_and_loses_its_record(fake_bundle: Bundle) -> None:
    _, (path,) = prove_bundle(fake_bundle, gpu_bench(fake_bundle), UNSCORED)
    assert path.exists()
    (outcome,), written = prove_bundle(fake_bundle, gpu_bench(fake_bundle, ort=off), UNSCORED)
    assert written == []
    assert not path.exists()
    assert outcome.evidence is None
    assert "golden inputs, batch 1: largest error, at sample 2: 0.25 is over the limit 1e-05" in outcome.refused
    assert "'fp32' in fake: REFUSED: values: 'scores'" in table([outcome])
    with pytest.raises(BundleError, match="is not proven, so there is nothing to write down"):
        outcome.record(fake_bundle, gpu_bench(fake_bundle))


def test_plans_for_this_gpu_are_proven_again_beside_the_artefacts(fake_bundle: Bundle) -> None:
    with_plan(fake_bundle)
    outcomes, written = prove_bundle(fake_bundle, gpu_bench(fake_bundle), UNSCORED)
    assert [one.candidate.runtime for one in outcomes] == ["fake", "tensorrt"]
    assert [path.name for path in written] == ["nvidia-h200-fake.fp32.json", f"nvidia-h200-trt{VERSION}.fp32.json"]
    by_runtime = {one.runtime: one for one in records(fake_bundle)}
    assert by_runtime["tensorrt"].built_with == {"tf32": "off"}
    assert table(outcomes).splitlines()[0].split()[:2] == ["artefact", "runtime"]
    assert [line.split()[:2] for line in table(outcomes).splitlines()[1:]] == [["fp32", "fake"], ["fp32", "tensorrt"]]


@pytest.mark.parametrize(("device", "version"), [(L4, VERSION), (H200, "11.5.0"), (H200, None)])
def test_plans_for_others_are_left_alone(device: Any, version: str | None, fake_bundle: Bundle) -> None:
    plan = with_plan(fake_bundle)
    outcomes, _ = prove_bundle(fake_bundle, gpu_bench(fake_bundle, device, trt=off, version=version), UNSCORED)
    assert [one.candidate.runtime for one in outcomes] == ["fake"]
    assert plan.exists()
    assert H200 in [one.device for one in records(fake_bundle) if one.runtime == "tensorrt"]


def test_a_plan_that_fails_is_deleted(fake_bundle: Bundle) -> None:
    plan = with_plan(fake_bundle)
    outcomes, _ = prove_bundle(fake_bundle, gpu_bench(fake_bundle, trt=off), UNSCORED)
    assert [bool(one.refused) for one in outcomes] == [False, True]
    assert not plan.exists()
    assert [one.runtime for one in records(fake_bundle)] == ["fake"]


def test_a_plan_that_another_gpu_still_runs_stays(fake_bundle: Bundle) -> None:
    shared = f"ampere-plus-trt{VERSION}.fp32.plan"
    with_plan(fake_bundle, L4, shared)
    plan = with_plan(fake_bundle, H200, shared)
    prove_bundle(fake_bundle, gpu_bench(fake_bundle, H200, trt=off), Ask(runtimes=("tensorrt",), test_split="no"))
    assert plan.exists()
    assert [one.device for one in records(fake_bundle)] == [L4]


def test_a_plan_that_was_changed_is_not_even_loaded(fake_bundle: Bundle) -> None:
    plan = with_plan(fake_bundle)
    plan.write_bytes(b"other kernels")
    outcomes, _ = prove_bundle(fake_bundle, gpu_bench(fake_bundle, trt=lost), UNSCORED)
    assert "it was changed or damaged" in {one.candidate.runtime: one.refused for one in outcomes}["tensorrt"]
    assert not plan.exists()
    assert [one.runtime for one in records(fake_bundle)] == ["fake"]


def test_a_lost_device_proves_and_refutes_nothing(fake_bundle: Bundle) -> None:
    plan = with_plan(fake_bundle)
    with pytest.raises(DeviceLost, match="fell off the bus"):
        prove_bundle(fake_bundle, gpu_bench(fake_bundle, trt=lost), UNSCORED)
    assert plan.exists()
    assert [one.runtime for one in records(fake_bundle)] == ["tensorrt"]


def test_an_engine_that_breaks_is_refused_with_its_own_words(fake_bundle: Bundle) -> None:
    def breaks(_: Tensors, outputs: Tensors) -> Tensors:
        raise RuntimeFailed("no kernel for this")

    (outcome,), _ = prove_bundle(fake_bundle, gpu_bench(fake_bundle, ort=breaks), UNSCORED)
    assert outcome.refused == "no kernel for this"


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (Ask(artefacts=("fp8",)), "no artefact 'fp8'; it has fp32"),
        (Ask(runtimes=("tensorrt",)), "none of fp32 runs in tensorrt, and no engine of them is here"),
    ],
)
def test_what_is_not_there_cannot_be_proven(ask: Ask, expected: str, fake_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=expected):
        prove_bundle(fake_bundle, gpu_bench(fake_bundle), ask)


def test_a_runtime_that_is_not_installed_is_no_refusal(fake_bundle: Bundle) -> None:
    present = gpu_bench(fake_bundle)
    gone = type(present)(present.device, present.placement, lambda _: None, present.load)
    with pytest.raises(RuntimeFailed, match="runtime 'fake' is not installed here"):
        prove_bundle(fake_bundle, gone, UNSCORED)


def test_records_can_lie_outside_of_the_bundle(fake_bundle: Bundle, tmp_path: Path) -> None:
    _, (path,) = prove_bundle(fake_bundle, bench("cpu"), Ask(test_split="no", engines=tmp_path / "cache"))
    assert path.is_relative_to(tmp_path / "cache" / "fake")
    assert not engines_folder(fake_bundle).exists()


# The test split, where the data is at hand.


def test_the_whole_test_split_is_scored_where_its_data_is_at_hand(tiny_bundle: Bundle, tmp_path: Path) -> None:
    _, paths = prove_bundle(tiny_bundle, bench("cpu"), Ask(("fp32",), engines=tmp_path))
    ((record,), _) = read_records(tiny_bundle, tmp_path)
    assert paths
    assert record.evidence.measured_with["test_split"] == "359 samples scored"
    assert record.evidence.num_samples == 359 + len(tiny_bundle.manifest.golden)
    decoded, metric = record.evidence.checks[-2:]
    assert (decoded.kind, metric.kind) == ("decoded", "metric")
    evidence = tiny_bundle.manifest.artefacts["fp32"].evidence
    assert evidence
    assert f"{evidence.metric['checkpoint']:.4f} -> {evidence.metric['artefact']:.4f}" in metric.subject


def test_answers_that_are_wrong_on_the_test_split_alone_are_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    manifest, golden = tiny_bundle.manifest, tiny_bundle.golden()
    known = [*(one.inputs for one in golden), *noise(manifest.preprocess, golden, manifest.max_batch_size)]
    seen = {row["image"].tobytes() for row in known}

    def learnt_by_heart(inputs: Tensors, outputs: Tensors) -> Tensors:
        turned = {name: np.roll(array, 1, axis=-1) for name, array in outputs.items()}
        know = [image.tobytes() in seen for image in inputs["image"]]
        return {name: np.stack([(array if knows else turned[name])[i] for i, knows in enumerate(know)])
                for name, array in outputs.items()}  # fmt: skip

    present = gpu_bench(tiny_bundle, ort=learnt_by_heart)
    ask = Ask(("fp32",), ("onnxruntime",), engines=tmp_path)
    (outcome,), written = prove_bundle(tiny_bundle, present, ask)
    assert written == []
    assert "share of 359 test answers that differ" in outcome.refused


def test_a_bundle_that_no_recipe_made_says_why_nothing_was_scored(fake_bundle: Bundle) -> None:
    pytest.importorskip("torch", reason="else the missing training extra is what is told")
    (outcome,), _ = prove_bundle(fake_bundle, bench("cpu"), Ask())
    assert outcome.evidence
    told = outcome.evidence.measured_with["test_split"]
    assert told == "not scored: 'fake' was made by 'fake', which has no test split of a recipe"
    with pytest.raises(DataError, match="its test split cannot be scored: 'fake' was made by 'fake'"):
        prove_bundle(fake_bundle, bench("cpu"), Ask(test_split="yes"))


def _changed(bundle: Bundle, **changes: Any) -> Bundle:
    origin = bundle.manifest.provenance.model_dump() | changes
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"provenance": Provenance(**origin)}))


def test_other_data_than_it_was_trained_on_scores_nothing(tiny_bundle: Bundle) -> None:
    bundle = _changed(tiny_bundle, data_sha256="0" * 64)
    split, told = find_held_out(bundle, reference_predictor(bundle, bench("cpu")), "auto")
    assert split is None
    assert "data set 'digits' here is not what the bundle's model was trained on" in told


def test_auto_downloads_nothing(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELYARD_DATA", raising=False)
    arguments = tiny_bundle.manifest.provenance.arguments | {"data": {"dataset": "fashion-mnist"}}
    bundle = _changed(tiny_bundle, arguments=arguments)
    split, told = find_held_out(bundle, reference_predictor(bundle, bench("cpu")), "auto")
    assert split is None
    assert "only `--test-split yes` may download" in told


# The command.


def test_the_command_proves_on_this_cpu_and_prints_the_record(
    fake_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prove", str(fake_bundle.folder.parent), "--device", "cpu", "--test-split", "no"])
    printed = capsys.readouterr()
    assert Path(printed.out.strip()).is_file()
    assert "nearest to its limit" in printed.err


def test_the_command_fails_where_anything_is_refused(
    fake_bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_plan(fake_bundle)
    monkeypatch.setattr(device_commands, "bench", lambda *_: gpu_bench(fake_bundle, trt=off, ort=right))
    with pytest.raises(SystemExit) as ended:
        main(["prove", str(fake_bundle.folder), "--test-split", "no"])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out.strip().endswith("nvidia-h200-fake.fp32.json")
    assert "'fp32' in tensorrt: REFUSED: values: " in printed.err
