"""`modelyard build-engine`: real plans by TensorRT-RTX, proven on a GPU that the CPU plays, then written or deleted."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the bundle is exported from torch")
trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX belongs to the dev extra")

from bundle.engines import engines_folder, read_records  # noqa: E402
from bundle.errors import BundleError, RuntimeFailed  # noqa: E402
from bundle.store import Bundle  # noqa: E402
from export import build_engine, device_commands  # noqa: E402
from export.build_engine import Built, Order, build_engines, plan_stem  # noqa: E402
from export.tensorrt import BuildOptions, build_plan  # noqa: E402
from modelyard import main  # noqa: E402
from runtime.choice import Wanted, choose  # noqa: E402
from tests.export.benches import H200, L4, VERSION, few_runs, gpu_bench, lost, off  # noqa: E402

__all__ = ["few_runs"]
PLAN = f"nvidia-h200-trt{VERSION}.fp32.plan"
RECORD = f"nvidia-h200-trt{VERSION}.fp32.json"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The bundle is shared by all tests; its engines lie in a folder of each."""
    return tmp_path / "engines"


def build(bundle: Bundle, cache: Path, bench: Any = None, **order: Any) -> Built:
    return build_engines(
        bundle, bench or gpu_bench(bundle), trt, Order(engines=cache, **({"artefacts": ("fp32",)} | order))
    )


def files(bundle: Bundle, cache: Path) -> list[str]:
    return sorted(path.name for path in engines_folder(bundle, cache).iterdir() if path.name != build_engine.LOCK_FILE)


def test_a_proven_engine_is_there_with_its_record_and_is_chosen(tiny_bundle: Bundle, cache: Path) -> None:
    built = build(tiny_bundle, cache)
    folder = engines_folder(tiny_bundle, cache)
    assert (built.written, built.there, built.unbuilt) == ([folder / RECORD], [], {})
    assert files(tiny_bundle, cache) == [RECORD, PLAN]
    ((record,), wrong) = read_records(tiny_bundle, cache)
    assert wrong == []
    assert (record.device, record.runtime_version, record.file) == (H200, VERSION, PLAN)
    assert record.built_with["profiles"] == "image 1x8x8x1; image 2..8x8x8x1"
    chosen = choose(tiny_bundle, H200, Wanted(engines=cache, require_engine=True), gpu_bench(tiny_bundle).version)
    assert (chosen.runtime, chosen.path) == ("tensorrt", folder / PLAN)
    with pytest.raises(BundleError, match="not used on NVIDIA L4"):
        choose(tiny_bundle, L4, Wanted(engines=cache, require_engine=True), gpu_bench(tiny_bundle).version)


def test_what_is_there_and_valid_is_left_as_it_is(tiny_bundle: Bundle, cache: Path) -> None:
    (record,) = build(tiny_bundle, cache).written
    before = record.with_suffix(".plan").stat().st_mtime_ns
    second = build(tiny_bundle, cache, gpu_bench(tiny_bundle, trt=lost))
    assert (second.there, second.written, second.outcomes) == ([record], [], [])
    assert record.with_suffix(".plan").stat().st_mtime_ns == before
    third = build(tiny_bundle, cache, again=True)
    assert third.written == [record]
    assert record.with_suffix(".plan").stat().st_mtime_ns > before


def test_a_plan_that_was_damaged_is_built_anew(tiny_bundle: Bundle, cache: Path) -> None:
    (record,) = build(tiny_bundle, cache).written
    record.with_suffix(".plan").write_bytes(b"damaged")
    assert build(tiny_bundle, cache).written == [record]
    choose(tiny_bundle, H200, Wanted(engines=cache, require_engine=True), gpu_bench(tiny_bundle).version)


def test_another_version_of_tensorrt_builds_its_own(tiny_bundle: Bundle, cache: Path) -> None:
    build(tiny_bundle, cache)
    build(tiny_bundle, cache, gpu_bench(tiny_bundle, version="11.5.0"))
    assert [name for name in files(tiny_bundle, cache) if name.endswith(".plan")] == [
        PLAN,
        "nvidia-h200-trt11.5.0.fp32.plan",
    ]


def test_a_plan_that_fails_its_proof_is_deleted_and_the_figure_told(
    tiny_bundle: Bundle, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = build(tiny_bundle, cache, gpu_bench(tiny_bundle, trt=off))
    assert built.written == []
    assert files(tiny_bundle, cache) == []
    assert "0.25 is over the limit 1e-05" in built.outcomes[0].refused
    assert "'fp32' in tensorrt: REFUSED: values: 'scores', golden inputs" in capsys.readouterr().err


def test_a_new_plan_that_fails_does_not_cost_the_old_one(tiny_bundle: Bundle, cache: Path) -> None:
    build(tiny_bundle, cache)
    assert build(tiny_bundle, cache, gpu_bench(tiny_bundle, trt=off), again=True).written == []
    assert files(tiny_bundle, cache) == [RECORD, PLAN]
    choose(tiny_bundle, H200, Wanted(engines=cache, require_engine=True), gpu_bench(tiny_bundle).version)


def test_a_graph_that_cannot_be_built_does_not_stop_the_others(fake_bundle: Bundle, cache: Path) -> None:
    """The artefact of this bundle is JSON."""
    built = build(fake_bundle, cache)
    assert list(built.unbuilt) == ["fp32"]
    assert "cannot read the graph" in built.unbuilt["fp32"]
    assert (built.written, built.outcomes) == ([], [])


def test_a_plan_that_another_gpu_has_proven_is_proven_here_and_not_built_again(
    tiny_bundle: Bundle, cache: Path
) -> None:
    """As if it had been built for both: TensorRT-RTX takes no level of compatibility, so a second build would fail."""
    (first,) = build(tiny_bundle, cache, gpu_bench(tiny_bundle, L4)).written
    shared = f"ampere-plus-trt{VERSION}.fp32.plan"
    ((record,), _) = read_records(tiny_bundle, cache)
    (first.parent / str(record.file)).rename(first.parent / shared)
    build_engine.write_record(first.parent, record.model_copy(update={"file": shared}))
    built = build(tiny_bundle, cache, options=BuildOptions(hardware_compatibility="ampere-plus"))
    assert [path.name for path in built.written] == [RECORD]
    records, _ = read_records(tiny_bundle, cache)
    assert {(one.device.name, one.file) for one in records} == {(L4.name, shared), (H200.name, shared)}


@pytest.mark.parametrize(
    ("level", "expected"),
    [("none", "nvidia-h200"), ("same-compute-capability", "sm90"), ("ampere-plus", "ampere-plus")],
)
def test_a_plan_is_named_after_the_gpus_it_may_run_on(level: Any, expected: str) -> None:
    assert plan_stem("fp16", VERSION, H200, level) == f"{expected}-trt{VERSION}.fp16"


def test_two_builders_at_once_build_it_once(tiny_bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = []

    def counted(*arguments: Any) -> Any:
        builds.append(threading.get_ident())
        return build_plan(*arguments)

    monkeypatch.setattr(build_engine, "build_plan", counted)
    results: list[Built] = []
    threads = [threading.Thread(target=lambda: results.append(build(tiny_bundle, cache))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert sorted(len(one.there) for one in results) == [0, 1]


def test_what_a_killed_builder_left_is_cleared(tiny_bundle: Bundle, cache: Path) -> None:
    folder = engines_folder(tiny_bundle, cache)
    folder.mkdir(parents=True)
    (folder / f"{build_engine.BUILDING}x.fp32.plan").write_bytes(b"half a plan")
    build(tiny_bundle, cache)
    assert files(tiny_bundle, cache) == [RECORD, PLAN]


def test_a_folder_that_cannot_be_written_to_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="cannot be written to: Not a directory; name another folder with --engines"):
        build(tiny_bundle, tmp_path / "file")


def test_without_tensorrt_nothing_is_built(tiny_bundle: Bundle, cache: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"TensorRT is not installed here: pip install 'modelyard\[tensorrt\]'"):
        build(tiny_bundle, cache, gpu_bench(tiny_bundle, version=None))


def test_an_artefact_that_is_not_there_is_named(tiny_bundle: Bundle, cache: Path) -> None:
    with pytest.raises(BundleError, match="no artefact 'fp8'; it has fp32"):
        build(tiny_bundle, cache, artefacts=("fp8",))


# The command.


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def play(bundle: Bundle, **changes: Any) -> None:
        monkeypatch.setattr(device_commands, "bench", lambda *_: gpu_bench(bundle, **changes))
        monkeypatch.setattr(device_commands, "_tensorrt", lambda _: trt)

    return play


def test_the_command_prints_records_for_scripts_and_a_table_for_people(
    tiny_bundle: Bundle, cache: Path, on_a_gpu: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_gpu(tiny_bundle)
    command = ["build-engine", str(tiny_bundle.folder), "--artefacts", "fp32", "--engines", str(cache)]
    main(command)
    first = capsys.readouterr()
    assert first.out == f"{engines_folder(tiny_bundle, cache) / RECORD}\n"
    assert "nearest to its limit" in first.err
    main(command)
    second = capsys.readouterr()
    assert second.out == first.out
    assert "there and valid; --again builds it anew" in second.err


def test_the_command_fails_where_no_engine_is_proven(
    tiny_bundle: Bundle, cache: Path, on_a_gpu: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_gpu(tiny_bundle, trt=off)
    with pytest.raises(SystemExit) as ended:
        main(["build-engine", str(tiny_bundle.folder), "--artefacts", "fp32", "--engines", str(cache)])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "REFUSED" in printed.err


def test_every_artefact_for_gpus_is_built_where_none_is_named(tiny_bundle: Bundle, cache: Path) -> None:
    built = build(tiny_bundle, cache, artefacts=())
    meant = {name for name, one in tiny_bundle.manifest.artefacts.items() if one.device in ("any", "cuda")}
    assert {one.candidate.artefact for one in built.outcomes} == meant
