"""Which artefact runs on a device, and why: only what is proven there, and nothing is replaced in silence."""

from pathlib import Path
from typing import Any

import pytest

from bundle.errors import BundleError
from bundle.evidence import Latency
from bundle.store import Bundle, open_bundle
from runtime.choice import ANYTHING, Choice, PrecisionWanted, RuntimeWanted, Wanted, candidates, choose
from runtime.proofs import Failure
from tests.builders import FAKE_FILE, write_fake_bundle
from tests.engine_records import CPU, GPU, OTHER_GPU, build, installed, plan_of, prove, write_gpu_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """fp32 and int8 for CPUs, fp32, fp16 and int8-trt for GPUs; nothing is proven on any GPU."""
    return write_gpu_bundle(tmp_path)


def chosen(bundle: Bundle, wanted: Wanted = ANYTHING, device: Any = GPU) -> Choice:
    return choose(bundle, device, wanted, installed)


def what(choice: Choice) -> tuple[str, str]:
    return choice.artefact, choice.runtime


# On a CPU


def test_on_a_cpu_the_exports_choice_runs_by_its_evidence(bundle: Bundle) -> None:
    choice = chosen(bundle, device=CPU)
    assert what(choice) == ("int8", "fake")
    assert choice.path == bundle.folder / FAKE_FILE
    assert choice.latency == Latency(threads=1, median_ms={1: 0.05})
    assert choice.why == "the fastest of those proven by the export: 2.00 times 'fp32' in fake"
    assert (choice.fell_back, choice.record, choice.proven_here) == ("", None, ())


def test_on_a_cpu_with_one_artefact_there_is_no_comparison(tmp_path: Path) -> None:
    choice = chosen(open_bundle(write_fake_bundle(tmp_path)), device=CPU)
    assert (choice.artefact, choice.why) == ("fp32", "the only one that may run here, proven by the export")


@pytest.mark.parametrize(("precision", "artefact"), [("fp32", "fp32"), ("int8", "int8")])
def test_on_a_cpu_a_precision_is_had_where_there_is_one(
    bundle: Bundle, precision: PrecisionWanted, artefact: str
) -> None:
    choice = chosen(bundle, Wanted(precision=precision), CPU)
    assert (choice.artefact, choice.fell_back) == (artefact, "")


def test_on_a_cpu_a_precision_for_gpus_is_replaced_and_told(bundle: Bundle) -> None:
    choice = chosen(bundle, Wanted(precision="fp16"), CPU)
    assert choice.artefact == "int8"
    assert choice.fell_back == (
        f"{bundle.folder}: asked for precision fp16, and what may run on Invented 9000 (2 processors) is 'fp32' in "
        "fake, 'int8' in fake; the others were left out at export, or are for GPUs"
    )


def test_on_a_cpu_an_artefact_for_gpus_runs_where_it_is_named(bundle: Bundle) -> None:
    assert chosen(bundle, Wanted(artefact="fp16"), CPU).artefact == "fp16"


def test_on_a_cpu_what_lies_there_for_gpus_is_no_fault(bundle: Bundle) -> None:
    build(bundle, "fp16")
    (bundle.folder / "engines" / "damaged.json").write_text("{")
    choice = chosen(bundle, device=CPU)
    assert (choice.artefact, choice.fell_back) == ("int8", "")


def test_on_a_cpu_records_of_this_very_cpu_go_before_the_exports_figures(bundle: Bundle) -> None:
    prove(bundle, "fp32", "fake", ms=1.0, device=CPU)
    prove(bundle, "int8", "fake", ms=3.0, device=CPU)
    choice = chosen(bundle, device=CPU)
    assert (choice.artefact, choice.latency) == ("fp32", Latency(threads=1, median_ms={1: 1.0}))
    assert choice.why == "the fastest of those proven on Invented 9000 (2 processors): 3.00 times 'int8' in fake"


def test_on_a_cpu_figures_of_two_machines_are_not_compared(bundle: Bundle) -> None:
    prove(bundle, "fp32", "fake", ms=0.001, device=CPU)
    assert chosen(bundle, device=CPU).artefact == bundle.manifest.default_artefact == "int8"


# On a GPU


def test_on_a_gpu_without_proof_fp32_runs_and_this_is_told(bundle: Bundle) -> None:
    choice = chosen(bundle)
    assert what(choice) == ("fp32", "fake")
    assert choice.latency is None
    assert choice.why.startswith("the fp32 artefact, unproven on NVIDIA Q100")
    assert choice.fell_back == (
        "'fp32' in fake is not proven on NVIDIA Q100 (compute capability 9.0): "
        f"run `modelyard prove {bundle.folder}` there"
    )


def test_on_a_gpu_the_fastest_of_the_proven_runs(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime", ms=4.0)
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    build(bundle, "fp16", ms=1.5)
    record = build(bundle, "int8-trt", ms=1.0)
    choice = chosen(bundle)
    assert what(choice) == ("int8-trt", "tensorrt")
    assert choice.path == plan_of(bundle, record)
    assert choice.latency == record.evidence.latency
    assert choice.atol == bundle.manifest.artefacts["int8-trt"].atol
    assert choice.fell_back == ""
    assert sorted(choice.proven_here) == ["fp16", "fp32", "int8-trt"]
    assert choice.why == (
        "the fastest of those proven on NVIDIA Q100 (compute capability 9.0): 2.00 times 'fp16' in onnxruntime, "
        "4.00 times 'fp32' in onnxruntime, 1.50 times 'fp16' in tensorrt"
    )


def test_an_engine_that_is_slower_does_not_run_because_it_is_an_engine(bundle: Bundle) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=1.0)
    build(bundle, "fp16", ms=2.0)
    choice = chosen(bundle)
    assert what(choice) == ("fp16", "onnxruntime")
    assert choice.path == bundle.folder / FAKE_FILE
    assert choice.fell_back == ""


def test_speed_is_compared_at_the_batch_sizes_that_all_have(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime", ms={1: 1.0, 8: 8.0})
    prove(bundle, "fp16", "onnxruntime", ms={1: 2.0, 8: 2.0, 64: 1000.0})
    assert chosen(bundle).artefact == "fp16"


def test_without_a_batch_size_in_common_a_row_at_best_decides(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime", ms={1: 1.0})
    prove(bundle, "fp16", "onnxruntime", ms={8: 4.0})
    prove(bundle, "int8-trt", "onnxruntime", ms={})
    choice = chosen(bundle)
    assert choice.artefact == "fp16"
    assert "2.00 times 'fp32' in onnxruntime" in choice.why


def test_a_gpu_artefact_never_runs_unproven_even_if_it_is_named(bundle: Bundle) -> None:
    with pytest.raises(BundleError) as refused:
        chosen(bundle, Wanted(artefact="fp16"))
    assert str(refused.value) == (
        f"{bundle.folder}: asked for artefact 'fp16', and what may run on NVIDIA Q100 (compute capability 9.0) is "
        f"'fp32' in fake; run `modelyard build-engine {bundle.folder}` or run `modelyard prove {bundle.folder}` there"
    )


def test_an_artefact_for_cpus_does_not_run_on_a_gpu(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="asked for artefact 'int8'"):
        chosen(bundle, Wanted(artefact="int8"))


def test_an_unknown_artefact_is_refused_with_those_that_may_run(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"asked for artefact 'bf16', and what may run on .* is 'fp32' in fake"):
        chosen(bundle, Wanted(artefact="bf16"))


def test_a_bundle_without_fp32_runs_nothing_unproven(tmp_path: Path) -> None:
    whole = write_gpu_bundle(tmp_path / "whole").manifest.artefacts
    bundle = write_gpu_bundle(tmp_path, artefacts={"int8": whole["int8"]})
    with pytest.raises(BundleError, match=r"asked for any artefact, and what may run on .* is nothing"):
        chosen(bundle)


# Engines that lie there and are not used


def test_an_engine_of_another_gpu_is_never_used_and_that_is_told(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime")
    build(bundle, "fp16", device=OTHER_GPU)
    choice = chosen(bundle)
    assert what(choice) == ("fp32", "onnxruntime")
    assert choice.fell_back == (
        "'fp16' in tensorrt 11.4.0 for NVIDIA Q40 (compute capability 8.9) is not used on "
        "NVIDIA Q100 (compute capability 9.0)"
    )


def test_an_engine_of_another_gpu_is_no_fault_where_this_one_has_its_own(bundle: Bundle) -> None:
    build(bundle, "fp16", device=OTHER_GPU)
    build(bundle, "fp16")
    choice = chosen(bundle)
    assert (what(choice), choice.fell_back) == (("fp16", "tensorrt"), "")


def test_a_proof_of_another_gpu_is_no_engine_that_is_missed(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime")
    prove(bundle, "fp16", "onnxruntime", device=OTHER_GPU)
    assert (chosen(bundle).artefact, chosen(bundle).fell_back) == ("fp32", "")


def test_an_engine_of_another_version_is_never_used_and_that_is_told(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime")
    build(bundle, "fp16", runtime_version="11.3.0")
    choice = chosen(bundle)
    assert what(choice) == ("fp32", "onnxruntime")
    assert choice.fell_back.endswith("'fp16' in tensorrt 11.3.0 for NVIDIA Q100 (compute capability 9.0) is not used "
                                     "with tensorrt 11.4.0")  # fmt: skip


def test_where_the_engine_is_not_installed_that_is_told(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime")
    build(bundle, "fp16")
    choice = choose(bundle, GPU, ANYTHING, {"onnxruntime": "1.31.1"}.get)
    assert what(choice) == ("fp32", "onnxruntime")
    assert choice.fell_back.endswith("is not used with tensorrt (not installed)")


def test_an_old_engine_is_no_fault_where_it_was_built_anew(bundle: Bundle) -> None:
    build(bundle, "fp16", runtime_version="11.3.0")
    build(bundle, "fp16")
    assert chosen(bundle).fell_back == ""


def test_an_engine_of_another_bundle_is_never_used_and_that_is_told(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime")
    build(bundle, "fp16", bundle_digest="0" * 64)
    choice = chosen(bundle)
    assert what(choice) == ("fp32", "onnxruntime")
    assert "made for another bundle" in choice.fell_back


@pytest.mark.parametrize(("damage", "told"), [
    (lambda plan: plan.write_bytes(b"x"), "changed or damaged; run `modelyard build-engine` again"),
    (lambda plan: plan.unlink(), "No such file or directory; run `modelyard build-engine` again"),
])  # fmt: skip
def test_a_damaged_engine_is_never_used_and_that_is_told(bundle: Bundle, damage: Any, told: str) -> None:
    prove(bundle, "fp32", "onnxruntime")
    record = build(bundle, "fp16")
    damage(plan_of(bundle, record))
    choice = chosen(bundle)
    assert what(choice) == ("fp32", "onnxruntime")
    assert told in choice.fell_back
    assert str(plan_of(bundle, record)) in choice.fell_back


def test_a_damaged_engine_is_told_even_where_another_one_runs(bundle: Bundle) -> None:
    build(bundle, "fp16", ms=2.0)
    plan_of(bundle, build(bundle, "int8-trt", ms=1.0)).write_bytes(b"x")
    choice = chosen(bundle)
    assert what(choice) == ("fp16", "tensorrt")
    assert "int8-trt" in choice.fell_back


def test_who_asks_for_onnxruntime_misses_no_engine(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime", ms=5.0)
    plan_of(bundle, build(bundle, "fp16", ms=1.0)).unlink()
    build(bundle, "int8-trt", ms=1.0)
    choice = chosen(bundle, Wanted(runtime="onnxruntime"))
    assert (what(choice), choice.fell_back) == (("fp32", "onnxruntime"), "")


# Preferences


@pytest.mark.parametrize(
    ("runtime", "precision", "expected"),
    [
        ("auto", "auto", ("int8-trt", "tensorrt")),
        ("onnxruntime", "auto", ("fp16", "onnxruntime")),
        ("auto", "fp16", ("fp16", "tensorrt")),
        ("onnxruntime", "fp32", ("fp32", "onnxruntime")),
        ("tensorrt", "fp16", ("fp16", "tensorrt")),
    ],
)
def test_a_preference_is_followed_where_it_can_be(
    bundle: Bundle, runtime: RuntimeWanted, precision: PrecisionWanted, expected: tuple[str, str]
) -> None:
    prove(bundle, "fp32", "onnxruntime", ms=4.0)
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    build(bundle, "fp16", ms=1.5)
    build(bundle, "int8-trt", ms=1.0)
    choice = chosen(bundle, Wanted(runtime=runtime, precision=precision))
    assert (what(choice), choice.fell_back) == (expected, "")


def test_a_preference_that_cannot_be_had_is_replaced_by_the_fastest_and_told(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime", ms=4.0)
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    choice = chosen(bundle, Wanted(runtime="tensorrt", precision="int8"))
    assert what(choice) == ("fp16", "onnxruntime")
    assert "asked for runtime tensorrt and precision int8" in choice.fell_back
    assert f"run `modelyard build-engine {bundle.folder}`" in choice.fell_back


def test_the_one_that_was_named_runs_though_another_is_faster(bundle: Bundle) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    build(bundle, "int8-trt", ms=1.0)
    choice = chosen(bundle, Wanted(artefact="fp16"))
    assert what(choice) == ("fp16", "onnxruntime")
    assert choice.why.startswith("the only one that may run here, proven on NVIDIA Q100")


def test_fp32_may_run_unproven_where_it_is_asked_for_and_that_is_told(bundle: Bundle) -> None:
    build(bundle, "fp16")
    choice = chosen(bundle, Wanted(precision="fp32"))
    assert what(choice) == ("fp32", "fake")
    assert "'fp32' in fake is not proven on NVIDIA Q100" in choice.fell_back


def test_a_required_engine_runs_even_if_something_else_is_faster(bundle: Bundle) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=1.0)
    build(bundle, "fp16", ms=2.0)
    assert what(chosen(bundle, Wanted(require_engine=True))) == ("fp16", "tensorrt")


def test_a_required_engine_that_is_not_there_is_refused_with_the_reasons(bundle: Bundle) -> None:
    prove(bundle, "fp16", "onnxruntime")
    build(bundle, "fp16", device=OTHER_GPU)
    build(bundle, "int8-trt", runtime_version="11.3.0")
    with pytest.raises(BundleError) as refused:
        chosen(bundle, Wanted(require_engine=True))
    told = str(refused.value)
    assert "asked for an engine (--require-engine)" in told
    assert "is not used on NVIDIA Q100" in told
    assert "is not used with tensorrt 11.4.0" in told


def test_the_cache_is_read_in_place_of_the_bundles_folder(bundle: Bundle, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build(bundle, "fp16", ms=1.0)
    record = build(bundle, "int8-trt", ms=2.0, cache=cache)
    choice = chosen(bundle, Wanted(engines=cache))
    assert (choice.artefact, choice.path) == ("int8-trt", plan_of(bundle, record, cache))
    with pytest.raises(BundleError, match=f"build-engine {bundle.folder} --engines {tmp_path / 'empty'}`"):
        chosen(bundle, Wanted(engines=tmp_path / "empty", require_engine=True))


# Chosen anew


def test_the_same_choice_runs_the_same(bundle: Bundle) -> None:
    build(bundle, "fp16")
    assert chosen(bundle).runs_as(chosen(bundle))


def test_what_is_told_may_change_without_changing_what_runs(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime")
    before = chosen(bundle)
    build(bundle, "fp16", device=OTHER_GPU)
    after = chosen(bundle)
    assert before.runs_as(after)
    assert before.fell_back != after.fell_back


def test_an_engine_that_was_built_anew_does_not_run_the_same(bundle: Bundle) -> None:
    build(bundle, "fp16")
    before = chosen(bundle)
    build(bundle, "fp16", plan=b"another plan")
    assert not before.runs_as(chosen(bundle))


def test_other_figures_run_otherwise(bundle: Bundle) -> None:
    """Batch sizes follow from them."""
    build(bundle, "fp16", ms=1.0)
    before = chosen(bundle)
    build(bundle, "fp16", ms=2.0)
    assert not before.runs_as(chosen(bundle))


# Without what failed


def failed(choice: Choice) -> Failure:
    return Failure(choice.artefact, choice.runtime, choice.record, "it broke")


def test_what_failed_is_left_out_and_told(bundle: Bundle) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    build(bundle, "fp16", ms=1.0)
    choice = chosen(bundle, Wanted(without=(failed(chosen(bundle)),)))
    assert what(choice) == ("fp16", "onnxruntime")
    assert choice.fell_back == "'fp16' in tensorrt cannot be used: it broke"


def test_what_failed_is_told_to_those_who_want_something_else_too(bundle: Bundle) -> None:
    prove(bundle, "fp32", "onnxruntime", ms=4.0)
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    choice = chosen(bundle, Wanted(runtime="onnxruntime", without=(failed(chosen(bundle)),)))
    assert what(choice) == ("fp32", "onnxruntime")
    assert choice.fell_back == "'fp16' in onnxruntime cannot be used: it broke"


def test_what_was_proven_anew_is_no_longer_what_failed(bundle: Bundle) -> None:
    build(bundle, "fp16", ms=1.0)
    wanted = Wanted(without=(failed(chosen(bundle)),))
    build(bundle, "fp16", plan=b"another plan")
    choice = chosen(bundle, wanted)
    assert (what(choice), choice.fell_back) == (("fp16", "tensorrt"), "")


def test_what_failed_with_a_proof_is_not_tried_without_one(bundle: Bundle) -> None:
    prove(bundle, "fp32", "fake")
    wanted = Wanted(without=(failed(chosen(bundle)),))
    with pytest.raises(BundleError, match=r"is nothing; .*'fp32' in fake cannot be used: it broke"):
        chosen(bundle, wanted)


def test_what_failed_is_no_candidate(bundle: Bundle) -> None:
    build(bundle, "fp16", ms=1.0)
    wanted = Wanted(without=(failed(chosen(bundle)),))
    build(bundle, "int8-trt")
    found, told = candidates(bundle, GPU, wanted, installed)
    assert [what(one) for one in found] == [("int8-trt", "tensorrt")]
    assert "'fp16' in tensorrt cannot be used: it broke" in told
