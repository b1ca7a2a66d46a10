"""The idx format of MNIST: a big-endian header (two zero bytes, type, number of axes, sizes), then values."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from bundle.errors import DataError
from bundle.tensors import Array

UBYTE = 0x08


def read_idx(path: Path) -> Array:
    """Read an idx file of unsigned bytes, gzipped or not, as uint8 of the shape its header says.

    Raises:
        DataError: unreadable, not idx, another value type, or not as long as its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as cause:
        raise DataError(f"{path}: cannot be read: {cause}") from None
    if len(content) < 4 or content[:3] != bytes((0, 0, UBYTE)):
        raise DataError(f"{path}: not an idx file of unsigned bytes (it begins with {content[:4].hex()})")
    num_axes = content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise DataError(f"{path}: truncated inside its header ({len(content)} bytes)")
    shape = struct.unpack(f">{num_axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path}: its header says {list(shape)} values, but {len(content) - start} bytes follow")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
