"""What the words of an engine mean: is the batch too large, is the device gone, or did something else fail?

Engines put all of that into one class of exception, or only into a log. Their words are looked up here: those of CUDA,
cuBLAS and cuDNN as ONNX Runtime, TensorRT and CUDA's bindings quote them, and those of a host without memory. Codes
that say only "execution failed" are not in the tables, because they come with either: whoever gets one asks the device
itself (`Gpu.lost`). Knows words and codes. Knows nothing of the engines.
"""

import re
from typing import Final, NamedTuple

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed

NO_MEMORY: Final = (
    r"out of memory",  # CUDA failure 2; TensorRT: Cuda Runtime (out of memory)
    r"cudaErrorMemoryAllocation",
    r"CUDA_ERROR_OUT_OF_MEMORY",
    r"Failed to allocate memory for requested buffer",  # ONNX Runtime's arena: the device has no more
    r"Available memory of \d+ is smaller than requested bytes",  # the same arena: its own limit is reached
    r"CU(BLAS|DNN)_STATUS_ALLOC_FAILED",
    r"CUFFT_ALLOC_FAILED",
    r"CUDNN_STATUS_INTERNAL_ERROR_(HOST|DEVICE)_ALLOCATION_FAILED",
    r"Error Code \d+: OutOfMemory",  # TensorRT
    r"Requested amount of GPU memory .* could not be allocated",
    r"std::bad_alloc",  # the host
    r"bad allocation",
    r"Unable to allocate .* for an array",
)
"""What engines say where memory was missing: a smaller batch may fit."""


class Sticky(NamedTuple):
    """One CUDA error after which nothing on the device answers again in this process."""

    name: str
    driver_name: str
    words: str


STICKY: Final = {
    4: Sticky("cudaErrorCudartUnloading", "CUDA_ERROR_DEINITIALIZED", "driver shutting down"),
    46: Sticky(
        "cudaErrorDevicesUnavailable",
        "CUDA_ERROR_DEVICE_UNAVAILABLE",
        "CUDA-capable device(s) is/are busy or unavailable",
    ),
    100: Sticky("cudaErrorNoDevice", "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"),
    201: Sticky("cudaErrorDeviceUninitialized", "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"),
    214: Sticky("cudaErrorECCUncorrectable", "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"),
    220: Sticky("cudaErrorNvlinkUncorrectable", "CUDA_ERROR_NVLINK_UNCORRECTABLE", "uncorrectable NVLink error"),
    226: Sticky("cudaErrorContained", "CUDA_ERROR_CONTAINED", "Invalid access of peer GPU memory over nvlink"),
    700: Sticky("cudaErrorIllegalAddress", "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
    702: Sticky("cudaErrorLaunchTimeout", "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"),
    709: Sticky("cudaErrorContextIsDestroyed", "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"),
    710: Sticky("cudaErrorAssert", "CUDA_ERROR_ASSERT", "device-side assert triggered"),
    714: Sticky("cudaErrorHardwareStackError", "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error"),
    715: Sticky("cudaErrorIllegalInstruction", "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was"),
    716: Sticky("cudaErrorMisalignedAddress", "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"),
    717: Sticky("cudaErrorInvalidAddressSpace", "CUDA_ERROR_INVALID_ADDRESS_SPACE", "not supported on global/shared"),
    718: Sticky("cudaErrorInvalidPc", "CUDA_ERROR_INVALID_PC", "invalid program counter"),
    719: Sticky("cudaErrorLaunchFailure", "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"),
    721: Sticky("cudaErrorTensorMemoryLeak", "CUDA_ERROR_TENSOR_MEMORY_LEAK", "tensor memory not completely freed"),
    806: Sticky(
        "cudaErrorMpsRpcFailure", "CUDA_ERROR_MPS_RPC_FAILURE", "call between the MPS server and the MPS client"
    ),
    810: Sticky("cudaErrorMpsClientTerminated", "CUDA_ERROR_MPS_CLIENT_TERMINATED", "the MPS client has been term"),
    911: Sticky("cudaErrorExternalDevice", "CUDA_ERROR_EXTERNAL_DEVICE", "an async error has occured in external"),
    999: Sticky("cudaErrorUnknown", "CUDA_ERROR_UNKNOWN", "CUDA failure 999"),  # "unknown error" alone says nothing
}
"""CUDA's code -> how the runtime and the driver call it, and what cudaGetErrorString says."""

_NO_MEMORY = re.compile("|".join(NO_MEMORY), re.IGNORECASE | re.DOTALL)
_LOST = re.compile("|".join(rf"\b{re.escape(words)}" for sticky in STICKY.values() for words in sticky))


def meaning(words: str) -> type[RuntimeFailed]:
    """The error that an engine's words stand for; a device that is gone also fails to allocate, and goes first."""
    if _LOST.search(words):
        return DeviceLost
    return OutOfMemory if _NO_MEMORY.search(words) else RuntimeFailed


def failure(what: str, cause: BaseException | str) -> RuntimeFailed:
    """The error to raise for a failure of an engine, with the engine's own words."""
    if isinstance(cause, RuntimeFailed):
        kind = type(cause)
    else:
        kind = OutOfMemory if isinstance(cause, MemoryError) else meaning(str(cause))
    return kind(f"{what}: {str(cause).strip() or type(cause).__name__}")
