"""`modelyard tune`: what is measured, what is chosen, and what a person is told."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bundle.errors import DeviceLost, RuntimeFailed
from bundle.manifest import Artefact
from bundle.preprocess import TextTokens
from bundle.store import Bundle, open_bundle
from bundle.tasks.sentence_embedding import SentenceEmbeddingDecode
from bundle.tuning import Point, Tuning, read_tuning
from export.tune import Ask, Tuned, rows_to_measure, tune
from export.tune_load import drive
from export.tune_report import report
from modelyard import main
from runtime.devices import device_info, installed_version
from runtime.runtime import ON_CPU, RUNTIMES, Placement
from tests.builders import write_fake_bundle, write_fake_task_bundle
from tests.engine_records import GPU, build, installed, prove, write_gpu_bundle
from tests.export.costly import CostlyRuntime, clock
from tests.serving.embedder import tokenizer_json
from tests.serving.repositories import damage
from tests.tunings import point, tuning_of

pytestmark = pytest.mark.usefixtures("two_processors", "costly")
NO_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
from modelyard import main
main(sys.argv[1:])
"""


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.devices.available_cpus", lambda: 2)


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of known costs in place of the fake one."""
    for key, name in (("fake", "CostlyRuntime"), ("quick", "QuickRuntime"), ("wrong", "WrongRuntime")):
        monkeypatch.setitem(RUNTIMES, key, f"tests.export.costly:{name}")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return bundle_with(tmp_path / "models")


def bundle_with(repository: Path, **runtimes: str) -> Bundle:
    """Batches of up to 16; one artefact, and one more for each `artefact=runtime` that is named."""
    like = open_bundle(write_fake_bundle(repository / ".like")).manifest.artefacts["fp32"]
    more: dict[str, Artefact] = {name: like.model_copy(update={"runtime": key}) for name, key in runtimes.items()}
    return open_bundle(write_fake_bundle(repository, max_batch_size=16, artefacts={"fp32": like, **more}))


def tuned(bundle: Bundle, p99_ms: float = 20.0, **asked: Any) -> Tuned:
    return tune(bundle, ON_CPU, Ask(p99_ms, **asked), clock=clock)


def setting(one: Point) -> tuple[int, int, int]:
    return one.batch_size, one.instances, one.threads


# What is measured


def test_all_batch_sizes_are_measured_in_all_layouts(bundle: Bundle) -> None:
    points = tuned(bundle, p99_ms=1000).tuning.points
    layouts = [(1, 1), (2, 1), (1, 2)]
    assert [setting(one) for one in points] == [(size, *how) for how in layouts for size in (1, 2, 4, 8, 16)]


def test_figures_are_those_of_the_engine(bundle: Bundle) -> None:
    (one,) = tuned(bundle, batch_sizes=(4,), instances=(2,)).tuning.points
    assert (one.artefact, one.runtime) == ("fp32", "fake")
    assert one.rows_per_s == pytest.approx(2 * 4 / 8e-3)
    assert (one.batch_p50_ms, one.batch_p99_ms) == (8, 8)
    assert (one.request_p50_ms, one.request_p99_ms) == (12, 16)
    assert one.num_batches == 4 * 2 * 32  # rounds, callers, and 8 ms until a quarter of a second is over


def test_what_is_far_over_the_limit_is_driven_for_one_round_only(bundle: Bundle) -> None:
    asked = {"p99_ms": 19, "batch_sizes": (4, 8, 16), "instances": (2,)}
    points = {one.batch_size: one for one in tuned(bundle, **asked).tuning.points}  # 8, 12 and 20 ms a batch
    assert points[16].num_batches == 2 * 13
    assert points[16].batch_p50_ms == 20
    assert points[8].num_batches == 4 * 2 * 21
    assert points[4].num_batches == 4 * 2 * 32


def test_where_nothing_holds_the_limit_everything_is_driven_to_the_end(bundle: Bundle) -> None:
    points = tuned(bundle, p99_ms=1, batch_sizes=(4, 16), instances=(2,)).tuning.points
    assert [one.num_batches for one in points] == [4 * 2 * 32, 4 * 2 * 13]


def test_every_proven_artefact_is_measured_in_its_own_engine(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, int8="quick")
    done = tuned(bundle, batch_sizes=(4,), instances=(2,))
    assert {(one.artefact, one.runtime): one.batch_p50_ms for one in done.tuning.points} == {
        ("fp32", "fake"): 8.0,
        ("int8", "quick"): 4.0,
    }
    assert done.tuning.runtimes == {"fake": "", "quick": ""}
    assert done.tuning.chosen.artefact == "int8"


def test_only_what_is_asked_for_is_measured(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, int8="quick")
    for asked in ({"artefacts": ("fp32",)}, {"runtimes": ("fake",)}):
        assert {one.artefact for one in tuned(bundle, **asked).tuning.points} == {"fp32"}


def test_an_engine_that_gives_other_answers_is_never_measured(tmp_path: Path) -> None:
    done = tuned(bundle_with(tmp_path, int8="wrong"), batch_sizes=(1,))
    assert {one.artefact for one in done.tuning.points} == {"fp32"}
    (left_out,) = done.left_out
    assert left_out.startswith("'int8' in wrong: golden sample 0")


def test_what_does_not_fit_into_memory_is_left_out_and_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CostlyRuntime, "most_rows", 8)
    done = tuned(bundle, batch_sizes=(8, 16), instances=(2,))
    assert [one.batch_size for one in done.tuning.points] == [8]
    assert done.left_out == ["'fp32' in fake, batches of 16, 2 at once: 16 rows need too much memory"]


def test_where_nothing_can_be_measured_that_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"nothing could be measured on .*'int8' in wrong: golden sample 0"):
        tuned(bundle_with(tmp_path, int8="wrong"), artefacts=("int8",))


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Placement]:
    """A machine with an invented GPU and both engines; gives where they were loaded."""
    placements: list[Placement] = []

    class OnGpu(CostlyRuntime):
        def __init__(self, path: Path, placement: Placement = ON_CPU) -> None:
            placements.append(placement)
            super().__init__(path, placement)

    monkeypatch.setattr("export.tune.device_info", lambda _: GPU)
    monkeypatch.setattr("export.tune.installed_version", installed)
    monkeypatch.setattr("runtime.predictor.load_runtime", lambda manifest, runtime, path, where: OnGpu(path, where))
    return placements


def test_on_a_gpu_what_is_proven_there_is_measured_with_slots_for_instances(
    tmp_path: Path, on_a_gpu: list[Placement]
) -> None:
    bundle = write_gpu_bundle(tmp_path)
    prove(bundle, "fp16", "onnxruntime")
    build(bundle, "fp16")
    done = tune(bundle, Placement("cuda", 1), Ask(100, batch_sizes=(1, 4), cuda_graphs=True), clock=clock)
    assert {(one.artefact, one.runtime) for one in done.tuning.points} == {
        ("fp16", "onnxruntime"),
        ("fp16", "tensorrt"),
    }
    assert {(one.instances, one.threads) for one in done.tuning.points} == {(1, 1), (2, 1), (4, 1)}
    assert on_a_gpu == [Placement("cuda", 1, slots=4, graph_batches=(1, 4))] * 2
    assert done.left_out == [f"'fp32' in fake is not proven on {GPU}"]
    assert done.tuning.runtimes == {"onnxruntime": "1.31.1", "tensorrt": "11.4.0"}
    assert "at once on the GPU" in report(bundle.manifest, done.tuning)


def test_a_gpu_that_is_lost_ends_it(tmp_path: Path, on_a_gpu: list[Placement], monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: Any) -> None:
        raise DeviceLost("CUDA says unspecified launch failure")

    bundle = write_gpu_bundle(tmp_path)
    prove(bundle, "fp16", "onnxruntime")
    monkeypatch.setattr(CostlyRuntime, "run", lose)
    with pytest.raises(DeviceLost):
        tune(bundle, Placement("cuda"), Ask(100), clock=clock)


def test_of_texts_the_longest_are_measured_and_of_pictures_all_golden_ones(tmp_path: Path, bundle: Bundle) -> None:
    texts = ("good", "bad film", "good film bad film bad")
    preprocess = TextTokens(vocab_size=5, max_tokens=8, pad_to_multiple=4)
    decode = SentenceEmbeddingDecode(dim=4, normalised=False, pooling="mean")
    raws = [("text/plain", text.encode()) for text in texts]
    assets = {"tokenizer.json": tokenizer_json()}
    folder = write_fake_task_bundle(tmp_path, "texts", "sentence-embedding", preprocess, decode, raws, assets)
    assert [row["input_ids"].shape for row in rows_to_measure(open_bundle(folder))] == [(8,)]
    assert len(rows_to_measure(bundle)) == 3
    assert tuned(bundle).tuning.row_shapes == {"image": (8, 8, 3)}


# What is chosen


@pytest.mark.parametrize(("p99_ms", "wide_pays", "chosen"), [
    (20, 1.3, (4, 2, 1)),  # 8 ms a batch on one processor; two of 8 take 12 ms each, which is over
    (20, 1.8, (8, 1, 2)),  # 6.7 ms a batch of 8 on both
    (24, 1.8, (16, 1, 2)),
    (24, 1.2, (8, 2, 1)),
    (10, 1.0, (1, 2, 1)),
    (1000, 1.0, (16, 2, 1)),
])  # fmt: skip
def test_the_setting_follows_the_limit_and_the_engine(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, p99_ms: float, wide_pays: float, chosen: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(CostlyRuntime, "wide_pays", wide_pays)
    tuning = tuned(bundle, p99_ms).tuning
    assert setting(tuning.chosen) == chosen
    assert tuning.holds


def test_where_none_holds_the_limit_the_nearest_is_chosen(bundle: Bundle) -> None:
    tuning = tuned(bundle, p99_ms=1).tuning
    assert setting(tuning.chosen) == (1, 2, 1)
    assert not tuning.holds


# The loop


def test_what_a_caller_raises_is_raised_and_nobody_waits_for_ever() -> None:
    def fail() -> None:
        raise RuntimeFailed("the device is gone")

    with pytest.raises(RuntimeFailed, match="the device is gone"):
        drive(fail, 3, 0.01, clock)


# The command


def command(bundle: Path, *flags: str) -> list[str]:
    return ["tune", str(bundle), "--p99-ms", "10000", "--seconds-per-point", "0.02", *flags]


def test_the_command_prints_a_table_and_writes_what_the_service_reads(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(bundle.folder, "--batch-sizes", "1", "4", "--instances", "2"))
    printed = capsys.readouterr()
    tuning = read_tuning(bundle, device_info(ON_CPU), installed_version)
    assert tuning is not None
    lines = printed.out.splitlines()
    (chosen,) = [line for line in lines if line.startswith("-> ")]
    assert chosen.split()[1:6] == ["fp32", "fake", str(tuning.chosen.batch_size), "2", "1"]
    assert chosen.endswith("chosen")
    assert f"batches of at most {tuning.chosen.batch_size}, 2 at once on one processor each" in printed.out
    assert "`modelyard serve` reads it" in printed.out
    assert Path(lines[-1]).name.endswith(".tune.json")
    assert Path(lines[-1]).parent == bundle.folder / "engines"
    assert "round 4 of 4" in printed.err


def test_the_columns_of_the_table_are_aligned(bundle: Bundle) -> None:
    points = [point(1, 1.234), point(16, 12345.6, 2), point(4, 10.0, artefact="int8-trt")]
    lines = report(bundle.manifest, tuning_of(bundle, *points)).splitlines()
    heading = next(i for i, line in enumerate(lines) if "artefact" in line)
    right = lines[heading].index("request p99") + len("request p99")
    cells = [line[:right].split()[-1] for line in lines[heading + 1 : heading + 4]]
    assert cells == ["2.47", "24,691", "20.0"]
    assert lines[heading + 2].rstrip().endswith("over")


def test_a_machine_that_is_busy_with_something_else_is_told_of(bundle: Bundle) -> None:
    tuning = tuning_of(bundle)
    for load, told in (("0.10", False), ("1.90", True)):
        busy = tuning.model_copy(update={"measured_with": tuning.measured_with | {"load_average": load}})
        assert ("the machine was busy (load 1.9 on 2 processors" in report(bundle.manifest, busy)) == told


def test_the_newest_version_is_tuned_where_none_is_named(bundle: Bundle) -> None:
    again = bundle_with(bundle.folder.parents[1])
    main(command(bundle.folder.parent, "--batch-sizes", "1"))
    assert not (bundle.folder / "engines").exists()
    assert (again.folder / "engines").is_dir()


def test_a_cache_of_the_node_is_written_instead_of_the_bundle(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(bundle.folder, "--batch-sizes", "1", "--engines", str(tmp_path / "cache")))
    assert not (bundle.folder / "engines").exists()
    assert read_tuning(bundle, device_info(ON_CPU), installed_version, tmp_path / "cache") is not None
    assert f"`modelyard serve --engines {tmp_path / 'cache'}` reads it" in capsys.readouterr().out


def test_where_no_setting_holds_the_limit_that_is_said_and_the_exit_code_is_3(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(bundle.folder, "--batch-sizes", "1", "--p99-ms", "0.000001"))
    assert ended.value.code == 3
    assert "NO SETTING HOLDS 1e-06 ms: the nearest takes " in capsys.readouterr().out
    tuning = read_tuning(bundle, device_info(ON_CPU), installed_version)
    assert tuning is not None
    assert not tuning.holds


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--p99-ms", "0"), "--p99-ms 0: expected the milliseconds"),
        (("--p99-ms", "-5"), "--p99-ms -5: expected the milliseconds"),
        (("--p99-ms", "nan"), "--p99-ms nan: expected the milliseconds"),
        (("--seconds-per-point", "0"), "--seconds-per-point 0: expected seconds"),
        (("--artefacts", "fp64"), "--artefacts fp64: expected some of fp32"),
        (("--runtimes", "abacus"), "--runtimes abacus: expected some of onnxruntime, tensorrt, fake"),
        (("--runtimes", "tensorrt"), "asked for tensorrt; proven on"),
        (("--batch-sizes", "4", "17"), "--batch-sizes 17: the bundle's evidence covers batches of 1 to 16"),
        (("--batch-sizes", "0"), "--batch-sizes 0: the bundle's evidence"),
        (("--instances", "0"), "--instances 0: expected 1 or more"),
        (("--instances", "3"), "--instances 3: an instance has a processor for itself, and there are 2"),
        (("--device", "cuda", "--gpu", "99"), "CUDA"),
        (("--cuda-graphs",), "--cuda-graphs: only with --device cuda"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    bundle: Bundle, capsys: pytest.CaptureFixture[str], flags: Sequence[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(bundle.folder, *flags))
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("modelyard tune: ")
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert not (bundle.folder / "engines").exists()


def test_what_is_no_bundle_is_refused(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(bundle.folder)
    for folder, told in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path, "no manifest.json; this is not a bundle"),
        (bundle.folder, "the file was changed or damaged"),
    ):
        with pytest.raises(SystemExit):
            main(command(folder))
        assert told in capsys.readouterr().err


# The picture


def marked(tuning: Tuning) -> list[tuple[float, float]]:
    """Where the ring around the chosen point is drawn."""
    from export.tune_picture import CHOSEN, figure_of

    (axes,) = figure_of(tuning, "fake").axes
    (ring,) = [one for one in axes.collections if one.get_gid() == CHOSEN]
    return [(float(x), float(y)) for x, y in np.asarray(ring.get_offsets())]


def test_the_picture_marks_the_chosen_point_and_the_limit(bundle: Bundle) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra 'tune'")
    from export.tune_picture import figure_of

    tuning = tuned(bundle).tuning
    assert marked(tuning) == [(tuning.chosen.request_p99_ms, tuning.chosen.rows_per_s)]
    (axes,) = figure_of(tuning, "fake").axes
    limit = axes.lines[-1]
    assert np.asarray(limit.get_xdata()).tolist() == [tuning.p99_ms, tuning.p99_ms]
    assert len(axes.lines) - 1 == 3  # a line a layout: where two processors gain nothing, one lies on another
    assert axes.get_xlim()[0] < tuning.p99_ms < axes.get_xlim()[1]


def test_the_command_draws_a_picture(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra 'tune'")
    file = tmp_path / "tuned.png"
    main(command(bundle.folder, "--batch-sizes", "1", "4", "--png", str(file)))
    assert f"drawn: {file}" in capsys.readouterr().out
    picture_HWC = cv2.imread(str(file))
    assert picture_HWC is not None
    assert picture_HWC.shape[0] > 600
    ring_bgr = (0x3C, 0x00, 0xD4)
    assert (picture_HWC == ring_bgr).all(axis=2).sum() > 100


def test_without_matplotlib_the_picture_is_left_out_and_all_else_is_done(tmp_path: Path) -> None:
    bundle = open_bundle(write_fake_bundle(tmp_path / "models"))
    flags = ("--batch-sizes", "1", "--png", str(tmp_path / "tuned.png"))
    done = subprocess.run(
        [sys.executable, "-c", NO_MATPLOTLIB, *command(bundle.folder, *flags)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = "tuned.png was left out: module 'matplotlib' is not installed; pip install 'modelyard[tune]'"
    assert told in done.stdout
    assert not (tmp_path / "tuned.png").exists()
    assert list((bundle.folder / "engines").iterdir()) == [Path(done.stdout.splitlines()[-1])]
