"""PNG's own structure: every chunk held to its length and checksum, and the header of a plain one read from it.

Most PNGs have no transparency and no EXIF; their header is 13 bytes at a fixed place, and reading it here costs a tenth
of what a general reader takes, which for a small picture is half of preparing it. Knows the format (ISO/IEC 15948).
Knows nothing of pixels.
"""

import zlib

from bundle.errors import BadInput

BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
"""Signature, and the head of the chunk that must come first."""

PLAIN_CHUNKS = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"pHYs", b"sRGB", b"gAMA", b"cHRM", b"tIME"))
"""Chunks that say nothing of transparency or orientation."""
PLAIN_KINDS = frozenset((b"\x08\x00\0\0\0", b"\x08\x02\0\0\0"))
"""Bit depth, colour type, compression, filter, interlace: eight bits of grey or of RGB."""
MAX_SIDE_PX = 2**31 - 1


def begins(raw: bytes) -> bool:
    """Whether bytes begin as every PNG does."""
    return raw.startswith(BEGIN)


def size_px(raw: bytes) -> tuple[int, int]:
    """Height and width as the header claims; `begins` must hold."""
    return int.from_bytes(raw[20:24]), int.from_bytes(raw[16:20])


def check_chunks(raw: bytes) -> set[bytes]:
    """Hold every chunk to its length and its checksum; gives the kinds of chunks there are.

    OpenCV reserves what a chunk claims to hold (up to 4 GB) before it sees that the bytes never came, and libpng
    writes what is wrong inside a chunk to standard error.

    Raises:
        BadInput: truncated or damaged.
    """
    kinds = set()
    at = 8  # behind the signature
    while at < len(raw) and raw[at - 8 : at - 4] != b"IEND":
        start, at = at, at + 12 + int.from_bytes(raw[at : at + 4])
        if at > len(raw):
            raise BadInput(f"the PNG picture is truncated ({len(raw)} bytes arrived, a chunk ends at {at}) or damaged")
        if zlib.crc32(raw[start + 4 : at - 4]) != int.from_bytes(raw[at - 4 : at]):
            raise BadInput(f"the PNG picture is damaged: the checksum of its chunk at byte {start} is wrong")
        kinds.add(raw[start + 4 : start + 8])
    return kinds


def plain_size_px(raw: bytes) -> tuple[int, int] | None:
    """Height and width of a whole PNG that is upright and has no transparency; None where that takes a closer look.

    Raises:
        BadInput: truncated or damaged.
    """
    if not begins(raw) or raw[24:29] not in PLAIN_KINDS:
        return None
    height_px, width_px = size_px(raw)
    if not (0 < height_px <= MAX_SIDE_PX and 0 < width_px <= MAX_SIDE_PX):
        return None
    kinds = check_chunks(raw)
    return (height_px, width_px) if kinds <= PLAIN_CHUNKS and b"IEND" in kinds else None
