"""Memory, streams and errors of a GPU; and that the simulated one notices what a real one would punish."""

import gc
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from runtime.cuda import Gpu
from runtime.cuda_streams import DeviceMemory, PinnedMemory, Stream
from tests.runtime.simulated_cuda import SimulatedCuda
from tests.runtime.simulated_gpu import FRESH, HOST, STALE, Error, SimulatedGpu

NUM_BYTES = 64


class Bench:
    """One GPU with a stream and memory on both sides."""

    def __init__(self, simulated: SimulatedGpu) -> None:
        self.simulated = simulated
        self.cuda = SimulatedCuda(simulated)
        self.gpu = Gpu(self.cuda, 0)
        self.stream = Stream(self.gpu)
        self.device, self.host, self.back = DeviceMemory(self.gpu), PinnedMemory(self.gpu), PinnedMemory(self.gpu)
        for memory in (self.device, self.host, self.back):
            memory.reserve(NUM_BYTES)

    def sent(self, value: int) -> np.ndarray:
        """What comes back of a value that is sent there and back, once it has been waited for."""
        self.host.view((NUM_BYTES,), "uint8")[:] = value
        self.stream.copy_in(self.device, self.host, NUM_BYTES)
        self.stream.copy_out(self.back, self.device, NUM_BYTES)
        return self.back.view((NUM_BYTES,), "uint8")

    def free(self) -> None:
        for one in (self.device, self.host, self.back, self.stream):
            one.free()


@pytest.fixture(params=[False, True], ids=["lazy", "threaded"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(SimulatedGpu(threaded=request.param))
    yield bench
    assert bench.simulated.misuses == []


@pytest.fixture
def lazy() -> Bench:
    return Bench(SimulatedGpu())


# -- what a GPU does


def test_what_is_copied_there_and_back_is_the_same(bench: Bench) -> None:
    for value in (1, 2, 3):
        back = bench.sent(value)
        bench.stream.wait()
        assert (back == value).all()


def test_a_view_is_the_memory_itself(bench: Bench) -> None:
    bench.host.view((2, 4), "float32")[:] = 1.5
    assert (bench.host.view((8,), "float32") == 1.5).all()
    assert bench.host.view((0, 4), "float32").shape == (0, 4)
    with pytest.raises(ValueError, match="a view of 68 bytes of 64"):
        bench.host.view((17,), "float32")


def test_memory_grows_on_demand_and_only_then(bench: Bench) -> None:
    before = bench.device.address
    assert not bench.device.reserve(NUM_BYTES // 2)
    assert bench.device.address == before
    assert bench.device.reserve(NUM_BYTES * 2)
    assert (bench.device.num_bytes, bench.simulated.live_bytes(0)) == (NUM_BYTES * 2, NUM_BYTES * 2)
    bench.device.free()
    bench.device.free()  # again does nothing
    assert bench.simulated.live_bytes(0) == 0


def test_a_copy_larger_than_its_memory_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="a copy of 65 bytes from 64 to 64"):
        bench.stream.copy_in(bench.device, bench.host, 65)


def test_a_captured_graph_is_done_when_launched_on_what_is_in_memory_then(bench: Bench) -> None:
    back = bench.back.view((NUM_BYTES,), "uint8")
    graph = bench.stream.capture(lambda: bench.sent(1) is None)
    bench.stream.wait()
    assert (back == FRESH).all()  # recorded, not done
    for value in (7, 8):
        bench.host.view((NUM_BYTES,), "uint8")[:] = value
        graph.launch()
        bench.stream.wait()
        assert (back == value).all()
    graph.free()
    bench.free()
    assert bench.cuda.live == {"event": 0, "graph": 0}


def break_off(bench: Bench) -> None:
    raise KeyError("something of ours")


def allocate(bench: Bench) -> None:
    DeviceMemory(bench.gpu).reserve(1)


@pytest.mark.parametrize(("work", "error"), [(break_off, KeyError), (allocate, RuntimeFailed)])
def test_a_stream_is_as_before_when_its_capture_failed(
    bench: Bench, work: Callable[[Bench], None], error: type[Exception]
) -> None:
    with pytest.raises(error):
        bench.stream.capture(lambda: work(bench))
    back = bench.sent(5)
    bench.stream.wait()
    assert (back == 5).all()
    assert bench.cuda.live["graph"] == 0


def test_other_threads_allocate_while_one_captures(bench: Bench) -> None:
    def work() -> None:
        other = threading.Thread(target=DeviceMemory(bench.gpu).reserve, args=(16,))
        other.start()
        other.join()
        bench.sent(1)

    graph = bench.stream.capture(work)
    assert bench.simulated.live_bytes(0) == NUM_BYTES + 16
    graph.free()


def test_the_collector_rests_while_a_stream_captures(bench: Bench) -> None:
    states: list[bool] = []
    bench.stream.capture(lambda: states.append(gc.isenabled())).free()
    assert (states, gc.isenabled()) == ([False], True)


# -- errors


@pytest.mark.parametrize(
    ("error", "kind", "lost"),
    [
        (Error.cudaErrorMemoryAllocation, OutOfMemory, False),
        (Error.cudaErrorIllegalAddress, DeviceLost, True),
        (Error.cudaErrorLaunchFailure, DeviceLost, True),
        (Error.cudaErrorHardwareStackError, DeviceLost, True),
        (Error.cudaErrorECCUncorrectable, DeviceLost, True),
        (Error.cudaErrorContextIsDestroyed, DeviceLost, True),
        (Error.cudaErrorInvalidValue, RuntimeFailed, False),
        (Error.cudaErrorLaunchOutOfResources, RuntimeFailed, False),
    ],
)
def test_errors_are_what_can_be_done_about_them(lazy: Bench, error: Error, kind: type, lost: bool) -> None:
    lazy.cuda.refusals["cudaMalloc"] = [error]
    with pytest.raises(RuntimeFailed, match=rf"{error.name} \(the words for {int(error)}\)") as caught:
        lazy.device.reserve(1000)
    assert type(caught.value) is kind
    assert (lazy.gpu.lost == str(caught.value)) is lost
    assert bool(lazy.gpu.lost) is lost


def test_the_first_cause_of_a_loss_is_the_one_that_is_told(lazy: Bench) -> None:
    lazy.simulated.break_at("copy in", Error.cudaErrorIllegalAddress)
    lazy.sent(1)
    with pytest.raises(DeviceLost, match="cudaErrorIllegalAddress"):
        lazy.stream.wait()
    lazy.simulated.broken[0] = Error.cudaErrorLaunchFailure
    for ask in (lazy.gpu.use, lazy.gpu.must_live, lazy.stream.wait):
        with pytest.raises(DeviceLost, match="cudaErrorIllegalAddress"):
            ask()


def test_memory_is_counted_against_a_limit() -> None:
    gpu = Gpu(SimulatedCuda(SimulatedGpu()), 0, limit_bytes=100)
    one, other = DeviceMemory(gpu), DeviceMemory(gpu)
    one.reserve(60)
    with pytest.raises(OutOfMemory, match="needs 50 bytes beside 60 in use, and this engine may have 100"):
        other.reserve(50)
    one.reserve(30)
    assert one.num_bytes == 60
    one.free()
    assert other.reserve(100)


def test_memory_that_was_refused_is_not_counted(lazy: Bench) -> None:
    gpu = Gpu(lazy.cuda, 0, limit_bytes=100)
    memory = DeviceMemory(gpu)
    lazy.cuda.refusals["cudaMalloc"] = [Error.cudaErrorMemoryAllocation]
    with pytest.raises(OutOfMemory):
        memory.reserve(100)
    assert memory.reserve(100)


def test_a_stream_without_its_event_is_not_left_behind(lazy: Bench) -> None:
    lazy.cuda.refusals["cudaEventCreateWithFlags"] = [Error.cudaErrorMemoryAllocation]
    with pytest.raises(OutOfMemory, match="cannot make an event"):
        Stream(lazy.gpu)
    assert len(lazy.simulated.streams) == 1


@pytest.mark.parametrize("index", [-1, 1])
def test_a_device_that_is_not_there_is_refused(lazy: Bench, index: int) -> None:
    with pytest.raises(RuntimeFailed, match=rf"there is no GPU {index} \(1 there\); check the driver \(nvidia-smi\)"):
        Gpu(lazy.cuda, index)


def test_a_missing_driver_is_named(lazy: Bench) -> None:
    lazy.cuda.refusals["cudaGetDeviceCount"] = [Error.cudaErrorInsufficientDriver]
    with pytest.raises(RuntimeFailed, match=r"there is no GPU 0 \(CUDA says cudaErrorInsufficientDriver\)"):
        Gpu(lazy.cuda, 0)


def test_what_cannot_be_freed_is_said(lazy: Bench, caplog: pytest.LogCaptureFixture) -> None:
    lazy.cuda.refusals["cudaFree"] = [Error.cudaErrorInvalidValue]
    lazy.device.free()
    assert caplog.messages == ["cuda:0 cannot free memory of the GPU: cudaErrorInvalidValue"]


# -- the simulated GPU notices


def read_too_early(bench: Bench) -> str:
    assert (bench.sent(1) == FRESH).all()
    bench.stream.wait()
    return ""


def write_too_early(bench: Bench) -> str:
    back = bench.sent(1)
    bench.host.view((NUM_BYTES,), "uint8")[:] = 2
    bench.stream.wait()
    assert (back == 2).all()
    return ""


def wait_for_another_stream(bench: Bench) -> str:
    back = bench.sent(1)
    Stream(bench.gpu).wait()
    assert (back == FRESH).all()
    return ""


def read_after_free(bench: Bench) -> str:
    view = bench.host.view((NUM_BYTES,), "uint8")
    bench.host.free()
    assert (view == STALE).all()
    return ""


def free_what_is_queued(bench: Bench) -> str:
    bench.sent(1)
    bench.device.free()
    with pytest.raises(DeviceLost):
        bench.stream.wait()
    return "memory is freed that a queued step"


def free_twice(bench: Bench) -> str:
    bench.cuda.cudaFree(bench.device.address)
    bench.device.free()
    return "is freed twice"


def use_after_free(bench: Bench) -> str:
    address = bench.device.address
    bench.device.free()
    bench.device.address, bench.device.num_bytes = address, NUM_BYTES
    with pytest.raises(DeviceLost):
        bench.sent(1)
    return "used after it was freed"


def copy_out_of_bounds(bench: Bench) -> str:
    bench.device.num_bytes = bench.host.num_bytes = NUM_BYTES + 1
    with pytest.raises(DeviceLost):
        bench.stream.copy_in(bench.device, bench.host, NUM_BYTES + 1)
    return "65 bytes are used of 64"


def copy_from_memory_that_is_not_pinned(bench: Bench) -> str:
    plain = np.zeros(NUM_BYTES, np.uint8)
    bench.host.address = plain.ctypes.data
    with pytest.raises(DeviceLost):
        bench.stream.copy_in(bench.device, bench.host, NUM_BYTES)
    return "is not pinned"


def two_streams_without_an_order(bench: Bench) -> str:
    bench.sent(1)
    Stream(bench.gpu).copy_in(bench.device, bench.host, NUM_BYTES)
    return "two streams use the same memory at once"


def work_with_another_device_current(bench: Bench) -> str:
    bench.simulated.num_devices = 2
    bench.cuda.cudaSetDevice(1)
    bench.sent(1)
    return "device 1 is current for work on device 0"


def destroy_a_stream_with_work(bench: Bench) -> str:
    bench.sent(1)
    bench.stream.free()
    return "a stream is destroyed with work queued"


@pytest.mark.parametrize(
    "mistake",
    [
        read_too_early,
        write_too_early,
        wait_for_another_stream,
        read_after_free,
        free_what_is_queued,
        free_twice,
        use_after_free,
        copy_out_of_bounds,
        copy_from_memory_that_is_not_pinned,
        two_streams_without_an_order,
        work_with_another_device_current,
        destroy_a_stream_with_work,
    ],
)
def test_the_simulated_gpu_shows_the_mistake(lazy: Bench, mistake: Callable[[Bench], str]) -> None:
    assert lazy.simulated.live_bytes(HOST) == 2 * NUM_BYTES
    noticed = mistake(lazy)  # "" where it is told by wrong values
    assert bool(noticed) is bool(lazy.simulated.misuses)
    assert noticed in " ".join(lazy.simulated.misuses)
