"""gzip and deflate (zlib's framing), both ways; what a request unpacks to is bounded before it is unpacked.

Knows content codings. Knows nothing of what the bytes mean.
"""

import gzip
import zlib

from bundle.errors import BadInput, InputTooLarge, UnsupportedMedia

CODINGS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Coding -> zlib's name of its framing."""
ACCEPTED = "gzip, deflate"
LEVEL = 1  # twice as fast as 6 for a few hundredths of the size, on tensors
WORTH_BYTES = 1024
"""Smaller answers fit into one packet as they are."""


def decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    """A request's body as it was before it was packed.

    Raises:
        UnsupportedMedia: a coding that is not read. BadInput: damaged, cut off, or something follows.
        InputTooLarge: it unpacks to more than `max_bytes`.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in CODINGS:
        raise UnsupportedMedia(f"content coding '{coding:.40}' is not read here; send {ACCEPTED}, or none")
    unpacker = zlib.decompressobj(CODINGS[coding])
    try:
        unpacked = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as cause:
        raise BadInput(f"the body is not {coding}: {cause}") from None
    if len(unpacked) > max_bytes:
        raise InputTooLarge(f"the body unpacks to more than {max_bytes} bytes; at most these are read")
    if not unpacker.eof:
        raise BadInput(f"the {coding} body is cut off after {len(body)} bytes")
    if unpacker.unused_data:
        raise BadInput(f"unexpected additional input data: {len(unpacker.unused_data)} bytes after the {coding} body")
    return unpacked


def chosen(accept: str | None, size: int) -> str | None:
    """The coding for an answer of `size` bytes, or None.

    A client that names one coding alone has asked for it; a list is what its HTTP library can read, and then packing
    must be worth its time.
    """
    if not accept:
        return None
    offers = [_offer(one) for one in accept.lower().split(",")]
    wanted = [(quality, name) for name, quality in offers if name in CODINGS and quality > 0]
    if not wanted or (len(offers) > 1 and size < WORTH_BYTES):
        return None
    best = max(quality for quality, _ in wanted)
    return next(name for quality, name in wanted if quality == best)


def compress(body: bytes, coding: str) -> bytes:
    """An answer's body, packed; the same body always gives the same bytes."""
    return gzip.compress(body, LEVEL, mtime=0) if coding == "gzip" else zlib.compress(body, LEVEL)


def _offer(text: str) -> tuple[str, float]:
    name, _, weight = text.partition(";")
    try:
        quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
    except ValueError:
        quality = 0.0
    return name.strip(), quality
