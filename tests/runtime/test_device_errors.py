"""What engines really said, and what it means. Quoted from their own issue trackers and from their libraries' texts."""

import re

import numpy as np
import pytest

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from runtime.device_errors import NO_MEMORY, STICKY, failure, meaning

SAID = {
    # ONNX Runtime
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
    "Name:'/patch_embed/stages/stages.0/blocks/blocks.0/mlp/fc1/Conv' Status Message: "
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal("
    "size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) Failed to allocate memory for "
    "requested buffer of size 4585490524328388608": OutOfMemory,
    "void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, "
    "onnxruntime::WaitNotificationFn) Available memory of 0 is smaller than requested bytes of 135383040": OutOfMemory,
    "[ONNXRuntimeError] : 1 : FAIL : cuda_call.cc:121 onnxruntime::CudaCall CUDA failure 2: out of memory ; GPU=0 ; "
    "hostname=DESKTOP ; file=cuda_stream_handle.cc ; line=175 ; expr=cudaStreamCreateWithFlags(&stream, "
    "cudaStreamNonBlocking);": OutOfMemory,
    "RUNTIME_EXCEPTION : Exception during initialization: CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; "
    "hostname=egg ; file=cuda_execution_provider.cc ; line=164 ; expr=cublasCreate(&cublas_handle_);": OutOfMemory,
    "CUDNN failure 4004: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0 ; hostname=a": OutOfMemory,
    "CUDNN failure 4003: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ; GPU=0 ; hostname=a": OutOfMemory,
    "CUDNN failure 2: CUDNN_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a": OutOfMemory,
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc": OutOfMemory,
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation": OutOfMemory,
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=hemantj ; expr=cudaMemcpy(dst_data, "
    "src_data, bytes, cudaMemcpyHostToDevice);": DeviceLost,
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=BALYN ; "
    "file=gpu_data_transfer.cc ; line=73 ; expr=cudaMemcpyAsync(dst_data, src_data, bytes, cudaMemcpyDeviceToHost, "
    "static_cast<cudaStream_t>(stream.GetHandle()));": DeviceLost,
    "CUDA failure 999: unknown error ; GPU=192915439 ; expr=cudaSetDevice(info_.device_id);": DeviceLost,
    "CUDA failure 214: uncorrectable ECC error encountered ; GPU=0 ; hostname=a": DeviceLost,
    "CUDA failure 46: CUDA-capable device(s) is/are busy or unavailable ; GPU=0 ; hostname=a": DeviceLost,
    "CUDA failure 710: device-side assert triggered ; GPU=0 ; hostname=a": DeviceLost,
    "CUDA failure 1: invalid argument ; GPU=1 ; hostname=3eee3adbcb74 ; expr=cudaMemcpyAsync()": RuntimeFailed,
    "CUDA failure 900: operation not permitted when stream is capturing": RuntimeFailed,
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x": RuntimeFailed,
    # These come with a batch that is too large, a kernel that a GPU does not have, or a lost device: ask the device.
    "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=LED-PC ; file=gemm.cc": RuntimeFailed,
    "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=DESK": RuntimeFailed,
    "CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0 ; hostname=acer ; file=conv.cc ; line=483": RuntimeFailed,
    # TensorRT
    "[defaultAllocator.cpp::allocate::19] Error Code 1: Cuda Runtime (out of memory)": OutOfMemory,
    "Requested amount of GPU memory (17920000000 bytes) could not be allocated. There may not be enough free memory "
    "for allocation to succeed.": OutOfMemory,
    "2: [virtualMemoryBuffer.cpp::resizePhysical::160] Error Code 2: OutOfMemory (no further information)": OutOfMemory,
    "[checkMacros.cpp::catchCudaError::212] Error Code 1: Cuda Runtime (an illegal memory access was encountered)": (
        DeviceLost
    ),
    "IExecutionContext::enqueueV3: Error Code 3: API Usage Error (Parameter check failed)": RuntimeFailed,
    # CUDA's bindings
    "CUDA_ERROR_OUT_OF_MEMORY: The API call failed because it was unable to allocate enough memory": OutOfMemory,
    "CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered": DeviceLost,
    "CUDA_ERROR_ILLEGAL_ADDRESS: While executing a kernel, the device encountered a load or store": DeviceLost,
    "CUDA error: out of memory": OutOfMemory,
    "CUDA_ERROR_INVALID_VALUE: one or more of the parameters is not within an acceptable range": RuntimeFailed,
    # The host
    "Unable to allocate 3.00 GiB for an array with shape (402653184,) and data type float64": OutOfMemory,
    # Both: the device goes first, for on a lost one nothing can be allocated either
    "CUDA failure 719: unspecified launch failure; Failed to allocate memory for requested buffer of size 8": (
        DeviceLost
    ),
}


@pytest.mark.parametrize("words", SAID, ids=range(len(SAID)))
def test_what_was_said_means(words: str) -> None:
    assert meaning(words) is SAID[words]


@pytest.mark.parametrize("pattern", NO_MEMORY)
def test_every_line_of_the_table_has_been_said(pattern: str) -> None:
    said = [words for words, kind in SAID.items() if kind is OutOfMemory]
    quoted = [*said, "CUDA failure 2: out of memory (cudaErrorMemoryAllocation)", "CUFFT failure 2: CUFFT_ALLOC_FAILED"]
    assert any(re.search(pattern, words) for words in quoted)


@pytest.mark.parametrize("code", STICKY)
def test_a_device_is_lost_by_whatever_name_its_error_has(code: int) -> None:
    name, driver_name, words = STICKY[code]
    for said in (f"CUDA failure 1: {name}", f"{driver_name}: it is gone", f"CUDA failure {code}: {words} ; GPU=0"):
        assert meaning(said) is DeviceLost


@pytest.mark.parametrize("code", STICKY)
def test_codes_names_and_words_are_cudas(code: int) -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="compared with CUDA's bindings")
    error = runtime.cudaError_t(code)
    name, _, words = STICKY[code]
    assert error.name == name
    assert words in f"CUDA failure {code}: {runtime.cudaGetErrorString(error)[1].decode()}"


def test_a_failure_says_what_was_done_and_what_the_engine_said() -> None:
    failed = failure("onnxruntime failed on x: float32 [2, 4]", ValueError("  it broke\n"))
    assert type(failed) is RuntimeFailed
    assert str(failed) == "onnxruntime failed on x: float32 [2, 4]: it broke"


@pytest.mark.parametrize("kind", [OutOfMemory, DeviceLost, RuntimeFailed])
def test_a_failure_that_is_known_already_keeps_its_kind(kind: type[RuntimeFailed]) -> None:
    failed = failure("onnxruntime failed", kind("out of memory"))
    assert type(failed) is kind


def test_a_host_without_memory_is_out_of_memory_whatever_it_says() -> None:
    assert isinstance(failure("numpy failed", MemoryError()), OutOfMemory)
    assert str(failure("numpy failed", MemoryError())) == "numpy failed: MemoryError"
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    assert meaning(str(caught.value)) is OutOfMemory
