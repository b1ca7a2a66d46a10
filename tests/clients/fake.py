"""What the models of the tests answer, worked out anew: by the description of the fake runtime, not by its code."""

import numpy as np

LABELS = ("cat", "dog", "owl")
PICTURES = (np.arange(3 * 8 * 8 * 3) % 251).astype(np.uint8).reshape(3, 8, 8, 3)
BEATS = np.array([[0.5, 1, 2, 4], [1, 1, 1, 1]], np.float32)


def answered(*rows: np.ndarray, size: int) -> np.ndarray:
    """One output of `size` values a row, from all inputs of that row; values of a row add up to 1."""
    number = len(rows[0])
    seeds = [sum(float(array[i].sum()) for array in rows) for i in range(number)]
    ramp = np.arange(1, size + 1, dtype=np.float64)
    values = [1.5 + np.sin(seed + ramp * ramp) for seed in seeds]
    return np.array([one / one.sum() for one in values], np.float32)


def png(seed: int) -> bytes:
    """A PNG of 8 x 8 pixels, so that no resizing changes it; made without any picture library."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = b"".join(b"\0" + row.tobytes() for row in PICTURES[seed])
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
