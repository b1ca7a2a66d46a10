"""Whether this machine has a GPU that tests under the marker `gpu` can use, asked of the driver itself, or why not.

Needs no wheel, so that the reason is the same whatever is installed: `python -m tests.gpu` says it, and ends with 1
where there is none.
"""

import ctypes
import sys
from functools import cache

DRIVER = "libcuda.so.1"
SUCCESS = 0


@cache
def missing() -> str:
    """Why there is no GPU to test on; "" where there is one."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as cause:
        return f"no NVIDIA driver: {cause}"
    count = ctypes.c_int(0)
    for call, arguments in ((driver.cuInit, (0,)), (driver.cuDeviceGetCount, (ctypes.byref(count),))):
        code = call(*arguments)
        if code != SUCCESS:
            return f"the NVIDIA driver is there and refuses: {call.__name__} gives {code}"
    return "" if count.value else "the NVIDIA driver sees no GPU; CUDA_VISIBLE_DEVICES may hide it"


if __name__ == "__main__":
    print(f"no GPU here: {missing()}" if missing() else "there is a GPU here")
    sys.exit(1 if missing() else 0)
