"""Every name of CUDA and TensorRT that is used exists in the installed libraries, and takes what it is given.

No GPU is needed for that. TensorRT's own libraries cannot be installed here as easily as TensorRT-RTX's, whose module
has the same classes.
"""

import inspect
import re
import subprocess
import sys
from typing import Any

import pytest

from bundle.errors import DeviceLost, OutOfMemory
from runtime import trt_engine
from runtime.cuda_api import Cuda
from runtime.device_errors import STICKY, meaning
from runtime.trt_api import ApiEngine, Context
from tests.runtime import simulated_trt
from tests.runtime.simulated_cuda import CaptureMode, CopyKind, SimulatedCuda
from tests.runtime.simulated_gpu import Error


def methods(protocol: type) -> dict[str, Any]:
    return {name: one for name, one in vars(protocol).items() if inspect.isfunction(one) and not name.startswith("_")}


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.fixture(scope="module")
def cudart() -> Any:
    return pytest.importorskip("cuda.bindings.runtime", reason="CUDA's bindings are not installed")


@pytest.fixture(scope="module", params=["tensorrt_rtx", "tensorrt"])
def trt(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed", exc_type=ImportError)


@pytest.mark.parametrize("name", methods(Cuda))
def test_a_call_of_cuda_takes_as_many_arguments_as_it_is_given(cudart: Any, name: str) -> None:
    given = len(parameters(methods(Cuda)[name]))
    assert len(inspect.signature(getattr(cudart, name)).parameters) == given
    assert len(parameters(inspect.unwrap(getattr(SimulatedCuda, name)))) == given


@pytest.mark.parametrize("name", Cuda.__annotations__)
def test_a_constant_of_cuda_is_there(cudart: Any, name: str) -> None:
    assert hasattr(cudart, name)
    if isinstance(getattr(SimulatedCuda, name), int):
        assert getattr(SimulatedCuda, name) == getattr(cudart, name)


def test_errors_and_kinds_are_cudas(cudart: Any) -> None:
    for mine, theirs in [
        (Error, cudart.cudaError_t),
        (CopyKind, cudart.cudaMemcpyKind),
        (CaptureMode, cudart.cudaStreamCaptureMode),
    ]:
        assert {one.name: int(one) for one in mine} == {one.name: int(getattr(theirs, one.name)) for one in mine}


def test_of_all_errors_of_cuda_those_of_the_table_lose_the_device_and_one_is_about_memory(cudart: Any) -> None:
    kinds = {one.name: meaning(one.name) for one in cudart.cudaError_t}
    assert {name for name, kind in kinds.items() if kind is DeviceLost} == {sticky.name for sticky in STICKY.values()}
    assert [name for name, kind in kinds.items() if kind is OutOfMemory] == ["cudaErrorMemoryAllocation"]


def test_calls_give_a_tuple_with_the_error_first_and_the_words_for_it_are_bytes(cudart: Any) -> None:
    error, *values = cudart.cudaGetDeviceCount()
    assert isinstance(error, cudart.cudaError_t)
    assert len(values) == 1
    assert cudart.cudaGetErrorString(cudart.cudaError_t.cudaErrorIllegalAddress)[1] == (
        b"an illegal memory access was encountered"
    )


def test_a_handle_is_told_as_a_number(cudart: Any) -> None:
    assert int(cudart.cudaStream_t(5)) == 5  # how TensorRT takes a stream


def test_calls_of_cuda_core_hide_the_code_of_an_error() -> None:
    cuda_utils = pytest.importorskip("cuda.core._utils.cuda_utils", reason="cuda.core is not installed")
    assert vars(cuda_utils.CUDAError("CUDA_ERROR_ILLEGAL_ADDRESS: ...")) == {}  # why it is not used: cuda_api.py


@pytest.mark.parametrize(
    ("protocol", "owner", "simulated", "name"),
    [
        *((ApiEngine, "ICudaEngine", simulated_trt.Engine, name) for name in methods(ApiEngine)),
        *((Context, "IExecutionContext", simulated_trt.Context, name) for name in methods(Context)),
    ],
)
def test_a_call_of_tensorrt_takes_what_it_is_given(
    trt: Any, protocol: type, owner: str, simulated: type, name: str
) -> None:
    given = parameters(methods(protocol)[name])
    signatures = re.findall(rf"{name}\(self: [\w.]+,? ?(.*)\) -> ", getattr(getattr(trt, owner), name).__doc__)
    taken = [[one.partition(":")[0] for one in re.split(r", (?=\w+: )", signature) if one] for signature in signatures]
    assert given in taken
    assert parameters(getattr(simulated, name)) == given


@pytest.mark.parametrize("name", ["num_io_tensors", "num_optimization_profiles"])
def test_a_property_of_an_engine_is_there(trt: Any, name: str) -> None:
    assert isinstance(getattr(trt.ICudaEngine, name), property)


@pytest.mark.parametrize(
    "kind", ["DataType", "TensorIOMode", "TensorLocation", "ExecutionContextAllocationStrategy", "Severity"]
)
def test_names_of_tensorrt_are_its_own(trt: Any, kind: str) -> None:
    theirs = trt.ILogger.Severity if kind == "Severity" else getattr(trt, kind)
    mine = getattr(simulated_trt, kind)
    assert {one.name for one in mine} <= set(theirs.__members__)
    assert trt_engine.DTYPES.keys() <= trt.DataType.__members__.keys()
    assert all(member.name == name for name, member in theirs.__members__.items())


REFUSE_JUNK = """
from importlib import import_module
from runtime.trt_api import messages_of
trt = import_module("{module}")
messages = messages_of(trt)
assert trt.Runtime(messages.logger).deserialize_cuda_engine(b"junk") is None
print(messages.refusal("no engine"))
"""


def test_a_plan_that_is_junk_gives_none_and_words_in_the_log(trt: Any) -> None:
    # In a process of its own: TensorRT keeps the first log that it is given, and another test's builder may have one.
    code = REFUSE_JUNK.format(module=trt.__name__)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert re.match(r"no engine; TensorRT says: .*Error Code", said)
