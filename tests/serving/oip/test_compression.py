import gzip
import zlib

import pytest

from bundle.errors import BadInput, InputTooLarge, UnsupportedMedia
from serving.oip.compression import chosen, compress, decompress

BODY = b"tensors " * 1000
PACKED = {"gzip": gzip.compress(BODY), "deflate": zlib.compress(BODY)}


@pytest.mark.parametrize("coding", PACKED)
def test_what_is_packed_comes_out_as_it_was(coding: str) -> None:
    assert decompress(PACKED[coding], coding, len(BODY)) == BODY
    assert decompress(compress(BODY, coding), f" {coding.upper()} ", len(BODY)) == BODY


@pytest.mark.parametrize("coding", ["", "identity"])
def test_no_coding_is_no_coding(coding: str) -> None:
    assert decompress(BODY, coding, 1) == BODY


@pytest.mark.parametrize("coding", PACKED)
def test_more_than_the_limit_is_refused_without_unpacking_it(coding: str) -> None:
    bomb = compress(bytes(10**8), coding)
    assert len(bomb) < 10**6
    with pytest.raises(InputTooLarge, match="unpacks to more than 1000 bytes"):
        decompress(bomb, coding, 1000)


@pytest.mark.parametrize("coding", PACKED)
def test_damage_is_refused(coding: str) -> None:
    with pytest.raises(BadInput, match="cut off"):
        decompress(PACKED[coding][:-1], coding, len(BODY))
    with pytest.raises(BadInput, match="cut off"):
        decompress(b"", coding, len(BODY))
    with pytest.raises(BadInput, match="unexpected additional input data: 3 bytes"):
        decompress(PACKED[coding] + b"xyz", coding, len(BODY))
    with pytest.raises(BadInput, match=f"the body is not {coding}"):
        decompress(b"nonsense" + PACKED[coding], coding, len(BODY))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, deflate", "x" * 1000])
def test_other_codings_are_refused_with_those_that_are_read(coding: str) -> None:
    with pytest.raises(UnsupportedMedia, match="send gzip, deflate, or none"):
        decompress(BODY, coding, len(BODY))


@pytest.mark.parametrize(
    ("accept", "size", "coding"),
    [
        (None, 10**6, None),
        ("", 10**6, None),
        ("gzip", 10, "gzip"),
        ("deflate", 10, "deflate"),
        ("gzip, deflate, br", 100, None),
        ("gzip, deflate, br", 10_000, "gzip"),
        ("br;q=1.0, deflate;q=0.9, gzip;q=0.5", 10_000, "deflate"),
        ("gzip;q=0", 10_000, None),
        ("gzip;q=nonsense", 10_000, None),
        ("*", 10_000, None),
        ("identity", 10_000, None),
        ("br, zstd", 10_000, None),
    ],
)
def test_an_answer_is_packed_where_that_is_asked_for_or_worth_it(
    accept: str | None, size: int, coding: str | None
) -> None:
    assert chosen(accept, size) == coding
