"""The GPU benchmark's own code, on the CPU: what can run is measured, what cannot says why, what is wrong is no row."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the benchmark measures PyTorch too")

from bundle.device import DeviceInfo
from bundle.errors import RunError, RuntimeFailed
from bundle.store import Bundle
from bundle.tensors import Tensors
from loadtests.gpu_bench import Options, gpu_bench
from loadtests.gpu_contestants import Contestant, Stage, contestants, loaded
from loadtests.gpu_pace import engine_row, golden_questions, largest_error, rate
from loadtests.gpu_served import _rows_per_second, tensors
from loadtests.under_load import Checked
from runtime.runtime import Runtime
from tests.gpu import missing
from training.gpu_results import GPU_FILE, GpuResults, read_gpu_results

COMPILERS_OWN = pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
"""torch's compiler imports what torch itself calls deprecated."""
BATCHES = (1, 8)
CPU = DeviceInfo(kind="cpu", name="a processor", num_cpus=1)
GPU = DeviceInfo(kind="cuda", name="NVIDIA H200", compute_capability="9.0")


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """The benchmark settles torch for its whole process, which here goes on to other tests."""
    import torch

    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture
def yard(tiny_run: Path, tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A folder with models/ and runs/ side by side, as `make bench` has it."""
    shutil.copytree(tiny_bundle.folder.parents[1], tmp_path / "models")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/digits_cnn").symlink_to(tiny_run)
    return tmp_path


def by_name(bundle: Bundle, run: Path, device: DeviceInfo = CPU) -> dict[tuple[str, str], Contestant]:
    found = contestants(bundle, run, Stage(device, BATCHES))
    return {(one.engine, one.artefact): one for one in found}


class Changed:
    """An engine whose answers are changed on their way out."""

    def __init__(self, real: Runtime, factor: float) -> None:
        self.inputs, self.outputs = real.inputs, real.outputs
        self._real, self._factor = real, factor
        self.runs = 0

    def run(self, batch: Tensors) -> Tensors:
        self.runs += 1
        return {name: array * array.dtype.type(self._factor) for name, array in self._real.run(batch).items()}


@COMPILERS_OWN
@pytest.mark.whole
def test_one_run_measures_engines_and_the_service(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = yard / "figures.json"
    options = Options(
        (yard / "models",), device="cpu", batch_sizes=(8, 4096), connections=(1, 4), seconds=0.02, json_file=file
    )
    code = gpu_bench(options)
    told = capsys.readouterr()
    assert code == 0, told.err
    results = GpuResults.model_validate_json(file.read_bytes())
    (model,) = results.models
    rows = {(row.engine, row.precision): row for row in model.rows}
    for engine in ("PyTorch eager", "ONNX Runtime"):
        row = rows[engine, "fp32"]
        assert [pace.batch_size for pace in row.paces] == [8], row.left_out  # more than the bundle's largest: none
        assert row.max_error is not None
        assert row.limit is not None
        assert 0 <= row.max_error <= row.limit
    assert rows["TensorRT", "fp32"].left_out == "TensorRT runs on NVIDIA GPUs alone"
    assert rows["TensorRT", "fp32"].paces == ()
    assert {(row.sent, row.connections) for row in model.served.http} == {
        (sent, number) for sent in ("as clients send", "tensors of 1", "tensors of 8") for number in (1, 4)
    }
    assert all(row.rows_per_second > 0 and row.checked > 0 and row.wrong == 0 for row in model.served.http)
    assert model.served.own_rows_per_second > 0
    assert results.commands[-1].startswith("python -m loadtests.gpu_bench")
    assert "the service, " in told.out


@COMPILERS_OWN
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU, and there is no g++")
def test_a_compiled_module_gives_the_golden_answers(
    tiny_run: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    contestant = by_name(tiny_bundle, tiny_run)["torch.compile", "fp32"]
    row = engine_row(contestant, golden_questions(tiny_bundle), (4,), 0.01)
    assert row.left_out == ""
    assert row.paces[0].batch_size == 4


def test_without_a_run_folder_pytorch_is_left_out_and_the_engines_are_not(tiny_bundle: Bundle, tmp_path: Path) -> None:
    found = by_name(tiny_bundle, tmp_path / "none")
    asked = golden_questions(tiny_bundle)
    left_out = engine_row(found["PyTorch eager", "fp32"], asked, BATCHES, 0.01)
    assert left_out.left_out == f"there is no run folder {tmp_path}/none: its graph in PyTorch is not at hand"
    assert left_out.paces == ()
    assert engine_row(found["ONNX Runtime", "fp32"], asked, BATCHES, 0.01).paces


def test_a_fast_wrong_engine_is_no_row(tiny_bundle: Bundle, tmp_path: Path) -> None:
    right = by_name(tiny_bundle, tmp_path)["ONNX Runtime", "fp32"]
    runtime, _ = loaded(right)
    assert runtime is not None
    wrong = Changed(runtime, factor=0.9)
    row = engine_row(replace(right, load=lambda: wrong), golden_questions(tiny_bundle), BATCHES, 0.01)
    assert row.paces == ()
    assert "golden sample 0 in a batch of 1: output '" in row.left_out
    assert "is over the limit 1e-05" in row.left_out
    assert wrong.runs == 1, "it was timed"


def test_an_engine_that_is_wrong_in_large_batches_alone_is_no_row(tiny_bundle: Bundle, tmp_path: Path) -> None:
    right = by_name(tiny_bundle, tmp_path)["ONNX Runtime", "fp32"]
    runtime, _ = loaded(right)
    assert runtime is not None

    class LastRow(Changed):
        def run(self, batch: Tensors) -> Tensors:
            found = {name: array.copy() for name, array in self._real.run(batch).items()}
            if len(next(iter(batch.values()))) == BATCHES[-1]:
                for array in found.values():
                    array[-1] = array[0] * 0.5
            return found

    row = engine_row(replace(right, load=lambda: LastRow(runtime, 1.0)), golden_questions(tiny_bundle), BATCHES, 0.01)
    assert "in a batch of 8" in row.left_out


def test_an_engine_that_breaks_is_left_out_with_its_words(tiny_bundle: Bundle, tmp_path: Path) -> None:
    def load() -> Runtime:
        raise RuntimeFailed("no such driver")

    contestant = replace(by_name(tiny_bundle, tmp_path)["ONNX Runtime", "fp32"], load=load)
    assert engine_row(contestant, golden_questions(tiny_bundle), BATCHES, 0.01).left_out == "no such driver"


def test_on_a_gpu_tensorrt_says_which_engine_it_lacks(tiny_bundle: Bundle, tmp_path: Path) -> None:
    found = by_name(tiny_bundle, tmp_path, GPU)
    row = engine_row(found["TensorRT", "fp32"], golden_questions(tiny_bundle), BATCHES, 0.01)
    assert row.paces == ()
    assert "modelyard build-engine" in row.left_out
    assert {("PyTorch eager", "fp16"), ("torch.compile", "fp16"), ("TensorRT", "int8-trt")} <= found.keys()
    assert ("ONNX Runtime", "int8") not in found, "U8S8 is for CPUs"


def test_an_artefact_that_was_left_out_says_why(tiny_bundle: Bundle, tmp_path: Path) -> None:
    manifest = tiny_bundle.manifest
    kept = {name: one for name, one in manifest.artefacts.items() if name == "fp32"}
    reason = [{"artefact": "int8-trt", "reason": "2 of 359 answers differ"}]
    without = Bundle(tiny_bundle.folder, type(manifest).model_validate(
        manifest.model_dump() | {"artefacts": {k: v.model_dump() for k, v in kept.items()},
                                 "default_artefact": "fp32", "left_out": reason}
    ))  # fmt: skip
    row = engine_row(by_name(without, tmp_path, GPU)["TensorRT", "int8-trt"], golden_questions(without), BATCHES, 0.01)
    assert row.left_out == "left out at export: 2 of 359 answers differ"


def test_every_golden_sample_is_in_the_largest_batch(tiny_bundle: Bundle, tmp_path: Path) -> None:
    asked = golden_questions(tiny_bundle)
    runtime, _ = loaded(by_name(tiny_bundle, tmp_path)["ONNX Runtime", "fp32"])
    assert runtime is not None
    assert len(asked.cycled(len(asked.samples) + 1)) == len(asked.samples) + 1
    assert asked.cycled(len(asked.samples) + 1)[-1] is asked.samples[0]
    assert 0 <= largest_error(runtime, asked, 8, 1e-5) <= 1e-5


def test_callers_at_once_add_up(tiny_bundle: Bundle, tmp_path: Path) -> None:
    asked = golden_questions(tiny_bundle)
    runtime, _ = loaded(by_name(tiny_bundle, tmp_path)["ONNX Runtime", "fp32"])
    assert runtime is not None
    counted = Changed(runtime, 1.0)
    assert rate([counted, counted], asked.batch(2), 0.01) > 0
    assert counted.runs >= 2 * 20


def test_tensors_of_several_rows_have_one_head_for_all_bodies(tiny_bundle: Bundle) -> None:
    target = tensors(80, tiny_bundle, golden_questions(tiny_bundle), 4)
    assert target.header is not None
    length = int(target.header.partition(": ")[2])
    assert {body[:length] for body in target.bodies} == {target.bodies[0][:length]}
    assert target.bodies[0][length - 1 :][:1] == b"}"
    assert len(set(target.bodies)) > 1


def test_requests_that_were_checked_count_one_row_each() -> None:
    seen = Checked(110.0, 0.0, 1.0, 2.0, 0, checked=20, wrong=0)
    assert _rows_per_second(seen, 8, connections=32, seconds=2.0) == 100 * 8 + 10
    assert _rows_per_second(seen, 8, connections=1, seconds=2.0) == 110 * 8


def test_figures_of_a_cpu_never_become_those_of_a_gpu(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = yard / "results" / GPU_FILE
    options = Options((yard / "models",), device="cpu", batch_sizes=(1,), parts=(), json_file=file)
    assert gpu_bench(options) == 1
    assert "do not belong there" in capsys.readouterr().err
    assert not file.exists()
    elsewhere = replace(options, json_file=yard / "elsewhere.json")
    assert gpu_bench(elsewhere) == 0
    with pytest.raises(RunError, match="is no GPU"):
        read_gpu_results(yard / "elsewhere.json")


@pytest.mark.skipif(not missing(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_writes_nothing(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_bench(Options((yard / "models",), json_file=yard / GPU_FILE)) == 1
    assert "choose device 'cpu'" in capsys.readouterr().err
    assert not (yard / GPU_FILE).exists()


@COMPILERS_OWN
@pytest.mark.gpu
def test_a_gpu_measures_pytorch_and_onnxruntime(yard: Path) -> None:
    file = yard / GPU_FILE
    options = Options(
        (yard / "models",), batch_sizes=BATCHES, connections=(8,), seconds=0.2, ready=(), json_file=file,
        parts=("engines",),
    )  # fmt: skip
    assert gpu_bench(options) == 0
    rows = {(row.engine, row.precision): row for row in read_gpu_results(file).models[0].rows}
    assert rows["PyTorch eager", "fp32"].left_out == ""
    assert rows["ONNX Runtime", "fp32"].left_out == ""
