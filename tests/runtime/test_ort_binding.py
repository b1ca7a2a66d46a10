"""Slots, their memory and their bindings: ONNX Runtime computes on the CPU, in the memory of a simulated GPU."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from bundle.tensors import Array, TensorSpec
from runtime.cuda import Gpu
from runtime.ort import specs_of
from runtime.ort_binding import GRAPH_ID, Compute, Slots, axis_sizes, can_capture, shape_of
from tests.runtime.host_gpu import HostGpu
from tests.runtime.onnx_graphs import write_doubling, write_positive, write_sum
from tests.runtime.simulated_cuda import SimulatedCuda
from tests.runtime.simulated_gpu import HOST, Error

Computing = Callable[[ort.InferenceSession], Compute]


@pytest.fixture(params=[False, True], ids=["when waited for", "at once"])
def gpu(request: pytest.FixtureRequest) -> Iterator[HostGpu]:
    """Its copies are made as late as can be, or by threads of their own; whatever is wrong with them is told."""
    gpu = HostGpu(threaded=request.param)
    yield gpu
    gc.collect()
    assert gpu.misuses == []


def session_of(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its refusals are raised; on standard error they only disturb
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def slots_of(path: Path, gpu: HostGpu, num_slots: int = 1, compute: Computing | None = None) -> Slots:
    session = session_of(path)
    there = compute(session) if compute else None
    return Slots(session, Gpu(SimulatedCuda(gpu), 0), specs_of(session), num_slots, there, "cpu")


@pytest.fixture
def doubling(tmp_path: Path, gpu: HostGpu) -> Slots:
    return slots_of(write_doubling(tmp_path / "model.onnx"), gpu)


def rows(num_rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((num_rows, 4), dtype=np.float32)


def test_batches_of_any_size_in_any_order(doubling: Slots) -> None:
    for num_rows in (3, 1, 8, 8, 2, 3, 1):
        x = rows(num_rows, num_rows)
        assert np.array_equal(doubling.run({"x": x})["y"], x * 2)


def test_a_batch_without_rows_is_computed(doubling: Slots) -> None:
    assert doubling.run({"x": rows(0)})["y"].shape == (0, 4)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float16", "float32"])
def test_every_type_of_a_bundle_is_bound(tmp_path: Path, gpu: HostGpu, dtype: str) -> None:
    onnx_type = {"float16": "FLOAT16", "float32": "FLOAT"}.get(dtype, dtype.upper())
    slots = slots_of(write_doubling(tmp_path / "model.onnx", dtype=onnx_type), gpu)
    answer = slots.run({"x": np.full((2, 4), 3, dtype)})["y"]  # type: ignore[arg-type]
    assert answer.dtype == np.dtype(dtype)
    assert (answer == 6).all()


def test_rows_that_are_not_contiguous_are_copied_right(doubling: Slots) -> None:
    assert np.array_equal(doubling.run({"x": rows(6)[::2]})["y"], rows(6)[::2] * 2)


def test_an_answer_belongs_to_the_caller(doubling: Slots) -> None:
    first = doubling.run({"x": rows(2, 1)})["y"]
    kept = first.copy()
    first_again = doubling.run({"x": rows(2, 2)})["y"]
    assert np.array_equal(first, kept)
    first_again[:] = 0
    assert first_again.flags.owndata
    assert np.array_equal(doubling.run({"x": rows(2, 1)})["y"], kept)


def test_memory_is_allocated_once_for_the_largest_batch(doubling: Slots, gpu: HostGpu) -> None:
    doubling.run({"x": rows(8)})
    allocations = len(gpu._blocks)
    for num_rows in (1, 8, 5, 8, 2):
        doubling.run({"x": rows(num_rows)})
    assert len(gpu._blocks) == allocations == 4  # x and y, at both ends
    assert gpu.live_bytes(0) == gpu.live_bytes(HOST) == 2 * rows(8).nbytes


def test_memory_that_grows_leaves_nothing_behind(doubling: Slots, gpu: HostGpu) -> None:
    for num_rows in (1, 2, 4, 8):
        doubling.run({"x": rows(num_rows)})
    assert gpu.live_bytes(0) == gpu.live_bytes(HOST) == 2 * rows(8).nbytes


def test_memory_and_streams_go_with_the_slots(tmp_path: Path, gpu: HostGpu) -> None:
    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, num_slots=2)
    slots.run({"x": rows(8)})
    assert len(gpu.streams) == 2
    del slots
    gc.collect()
    assert gpu.live_bytes(0) == gpu.live_bytes(HOST) == len(gpu.streams) == 0


def test_outputs_whose_size_the_inputs_do_not_tell(tmp_path: Path, gpu: HostGpu) -> None:
    slots = slots_of(write_positive(tmp_path / "model.onnx"), gpu)
    for seed, num_rows in enumerate((3, 3, 1, 5, 3)):
        x = rows(num_rows, seed)
        answer = slots.run({"x": x})
        assert list(answer) == ["where", "y"]
        assert np.array_equal(answer["where"], np.stack(np.nonzero(x > 0)))
        assert np.array_equal(answer["y"], x * 2)


def test_several_inputs_and_an_axis_that_is_a_sum(tmp_path: Path, gpu: HostGpu) -> None:
    slots = slots_of(write_sum(tmp_path / "model.onnx"), gpu)
    for shape in ((2, 3), (1, 7), (2, 3)):
        x, z = np.ones(shape, np.float32), np.full(shape, 2, np.float32)
        answer = slots.run({"z": z, "x": x})
        assert np.array_equal(answer["total"], x + z)
        assert np.array_equal(answer["parts"], np.concatenate([x, z], axis=1))


@pytest.mark.parametrize(
    ("batch", "problem"),
    [
        ({}, "tensor 'x' is missing"),
        ({"x": rows(2), "z": rows(2)}, "it has no input z"),
        ({"x": rows(2).astype(np.float64)}, "tensor 'x' is float64, expected float32"),
        ({"x": rows(2)[0]}, "tensor 'x' has shape [4], expected ['batch', 4]"),
        ({"x": rows(2)[:, :3]}, "tensor 'x' has shape [2, 3], expected ['batch', 4]"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(doubling: Slots, batch: dict[str, Array], problem: str) -> None:
    with pytest.raises(RuntimeFailed) as caught:
        doubling.run(batch)
    assert str(caught.value) == problem
    assert np.array_equal(doubling.run({"x": rows(2)})["y"], rows(2) * 2)


def test_an_axis_of_two_sizes_is_refused(tmp_path: Path, gpu: HostGpu) -> None:
    slots = slots_of(write_sum(tmp_path / "model.onnx"), gpu)
    with pytest.raises(RuntimeFailed, match="axis 'time' is 4 in 'z' and 3 in another input"):
        slots.run({"x": np.ones((2, 3), np.float32), "z": np.ones((2, 4), np.float32)})


@pytest.mark.parametrize("num_slots", [1, 2, 3])
def test_threads_at_once_each_get_their_own_answer(tmp_path: Path, gpu: HostGpu, num_slots: int) -> None:
    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, num_slots)

    def ask(seed: int) -> bool:
        x = rows(seed % 5 + 1, seed)
        return np.array_equal(slots.run({"x": x})["y"], x * 2)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(300)))
    assert gpu.live_bytes(0) <= num_slots * 2 * rows(5).nbytes


def test_as_many_batches_are_under_way_as_there_are_slots(tmp_path: Path, gpu: HostGpu) -> None:
    both_compute = threading.Barrier(2, timeout=30)

    def meeting(session: ort.InferenceSession) -> Compute:
        def compute(binding: Any, options: Any) -> None:
            both_compute.wait()  # breaks unless two batches are here at once
            session.run_with_iobinding(binding, options)

        return compute

    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, 2, meeting)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda seed: slots.run({"x": rows(2, seed)})["y"], range(8)))
    assert all(np.array_equal(answer, rows(2, seed) * 2) for seed, answer in enumerate(answers))


def test_what_does_not_fit_gives_its_memory_back_and_a_smaller_batch_is_computed(tmp_path: Path, gpu: HostGpu) -> None:
    gpu.memory_bytes = 200
    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu)
    with pytest.raises(OutOfMemory, match="cuda:0 cannot allocate 128 bytes of its memory: cudaErrorMemoryAllocation"):
        slots.run({"x": rows(8)})
    assert gpu.live_bytes(0) == gpu.live_bytes(HOST) == 0
    assert np.array_equal(slots.run({"x": rows(6)})["y"], rows(6) * 2)


def breaking_once(session: ort.InferenceSession) -> Compute:
    failures = iter([ValueError("broke once")])

    def compute(binding: Any, options: Any) -> None:
        for failure in failures:
            raise failure
        session.run_with_iobinding(binding, options)

    return compute


def test_a_failure_of_the_engine_leaves_the_slot_usable(tmp_path: Path, gpu: HostGpu) -> None:
    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, compute=breaking_once)
    with pytest.raises(ValueError, match="broke once"):
        slots.run({"x": rows(2)})
    assert np.array_equal(slots.run({"x": rows(2)})["y"], rows(2) * 2)


@pytest.mark.parametrize("step", ["copy in", "copy out"])
def test_a_gpu_that_breaks_on_the_way_is_lost(doubling: Slots, gpu: HostGpu, step: str) -> None:
    gpu.break_at(step, Error.cudaErrorIllegalAddress)
    for _ in range(2):
        with pytest.raises(DeviceLost, match="cuda:0 is lost to this process: cudaErrorIllegalAddress"):
            doubling.run({"x": rows(2)})
    assert "cudaErrorIllegalAddress" in doubling.gpu.lost


def test_a_failed_batch_tells_whether_the_gpu_broke(tmp_path: Path, gpu: HostGpu) -> None:
    def breaking(session: ort.InferenceSession) -> Compute:
        def compute(binding: Any, options: Any) -> None:
            gpu.broken[0] = Error.cudaErrorLaunchFailure
            raise ValueError("CUBLAS_STATUS_EXECUTION_FAILED")

        return compute

    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, compute=breaking)
    with pytest.raises(ValueError, match="EXECUTION_FAILED"):
        slots.run({"x": rows(2)})
    assert "cudaErrorLaunchFailure" in slots.gpu.lost


class Captures:
    """Computes as CUDA graphs do: the first run with an id fixes its addresses, and later ones use those."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.bindings: dict[int, Any] = {}
        self.ids: list[int] = []

    def __call__(self, binding: Any, options: Any) -> None:
        graph_id = int(options.get_run_config_entry(GRAPH_ID))
        self.ids.append(graph_id)
        if graph_id != -1:
            binding = self.bindings.setdefault(graph_id, binding)
        self._session.run_with_iobinding(binding, options)


@pytest.fixture
def captured(tmp_path: Path, gpu: HostGpu) -> tuple[Slots, Captures]:
    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, 2, Captures)
    slots.capture([1, 4])
    captures = slots.compute
    assert isinstance(captures, Captures)
    return slots, captures


def test_each_slot_and_batch_size_has_a_graph_of_its_own(captured: tuple[Slots, Captures]) -> None:
    _, captures = captured
    assert list(captures.bindings) == [1, 2, 3, 4]


def test_a_batch_of_a_captured_size_is_replayed_and_others_are_not(captured: tuple[Slots, Captures]) -> None:
    slots, captures = captured
    captures.ids.clear()
    for num_rows in (1, 4, 3, 4, 5, 1):
        assert np.array_equal(slots.run({"x": rows(num_rows, num_rows)})["y"], rows(num_rows, num_rows) * 2)
    assert [graph_id == -1 for graph_id in captures.ids] == [False, False, True, False, True, False]


def test_threads_share_captured_graphs(captured: tuple[Slots, Captures]) -> None:
    slots, _ = captured

    def ask(seed: int) -> bool:
        x = rows((1, 4, 2)[seed % 3], seed)
        return np.array_equal(slots.run({"x": x})["y"], x * 2)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_replay_that_gives_other_answers_is_refused(tmp_path: Path, gpu: HostGpu) -> None:
    class Stale(Captures):
        """Replays nothing: what is in the output stays there."""

        def __call__(self, binding: Any, options: Any) -> None:
            if int(options.get_run_config_entry(GRAPH_ID)) not in self.bindings:
                super().__call__(binding, options)

    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, compute=Stale)
    with pytest.raises(RuntimeFailed, match="the captured graph for 2 rows gives another 'y' than a run without it"):
        slots.capture([2])


def test_a_failed_replay_keeps_the_addresses_of_its_graph(tmp_path: Path, gpu: HostGpu) -> None:
    broken = [False]

    class Breaking(Captures):
        def __call__(self, binding: Any, options: Any) -> None:
            if broken[0]:
                raise ValueError("broke once")
            super().__call__(binding, options)

    slots = slots_of(write_doubling(tmp_path / "model.onnx"), gpu, compute=Breaking)
    slots.capture([2])
    before = gpu.live_bytes(0)
    broken[0] = True
    with pytest.raises(ValueError, match="broke once"):
        slots.run({"x": rows(2)})
    broken[0] = False
    assert gpu.live_bytes(0) == before
    assert np.array_equal(slots.run({"x": rows(2)})["y"], rows(2) * 2)


def spec(*shape: int | str, name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


@pytest.mark.parametrize(
    ("inputs", "outputs", "fixed"),
    [
        ([spec("batch", 4)], [spec("batch", 2)], True),
        ([spec("batch", 4), spec("batch", 3)], [spec("batch")], True),
        ([spec(1, 4)], [spec(1, 2)], True),
        ([spec("batch", "time")], [spec("batch", 2)], False),
        ([spec("batch", 4)], [spec("batch", "found")], False),
        ([spec("batch", 4)], [spec("found", 4)], False),
    ],
)
def test_only_graphs_with_fixed_sizes_can_be_captured(
    inputs: list[TensorSpec], outputs: list[TensorSpec], fixed: bool
) -> None:
    assert can_capture(tuple(inputs), tuple(outputs)) is fixed


def test_the_shape_of_an_output_follows_from_the_axes_of_the_inputs() -> None:
    sizes = axis_sizes((spec("batch", 4, "time"),), {"x": np.empty((2, 4, 5), np.float32)})
    assert sizes == {"batch": 2, "time": 5}
    assert shape_of(spec("time", 3, "batch"), sizes) == (5, 3, 2)
    assert shape_of(spec("batch", "found"), sizes) is None
