"""Cells: what each kind of preprocessing reads, paths of the same store only, and whose fault an error is."""

import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bundle.errors import BadInput, DataError, InputTooLarge
from scoring.cells import read_file, reader_of, takes
from scoring.store import Place, place

MAX_BYTES = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "big.png").write_bytes(bytes(MAX_BYTES + 1))
    (tmp_path / "tables").mkdir()
    return tmp_path


def fetch(folder: Path, kind: str, value: Any) -> bytes:
    return reader_of(kind, place(str(folder)), MAX_BYTES)(value, f"{folder}/tables/t.parquet")()


def test_a_picture_is_bytes_or_a_path_or_both(folder: Path) -> None:
    given = [b"picture", "../a.png", f"{folder}/a.png", f"file://{folder}/a.png"]
    given += [{"bytes": b"picture", "path": "lost.png"}, {"bytes": None, "path": "../a.png"}]
    assert [fetch(folder, "image-resize", value) for value in given] == [b"picture"] * len(given)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "empty \\(null\\); expected the bytes of a picture"),
        ("  ", "expected the bytes of a picture"),
        (7, "'7' \\(int\\)"),
        ({"bytes": None, "path": None}, "empty"),
        ("x/nowhere.png", "tables/x/nowhere.png: cannot be read: "),
        ("s3://bucket/a.png", "the table lies on a local disk, and only pictures of the same store"),
        ("https://host/a.png", "only pictures of the same store"),
        ("\udcff.png", "cannot be read"),
    ],
)
def test_what_is_no_picture_says_so(folder: Path, value: Any, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        fetch(folder, "image-resize", value)


def test_a_file_that_is_too_large_is_not_read(folder: Path) -> None:
    with pytest.raises(InputTooLarge, match="has 101 bytes; at most 100"):
        fetch(folder, "image-resize", "../big.png")


def test_a_text_is_a_text_and_what_was_no_utf8_stays_so(folder: Path) -> None:
    given = ["grüße", "grüße".encode(), b"\xff".decode("utf-8", "surrogateescape")]
    assert [fetch(folder, "text-tokens", value) for value in given] == ["grüße".encode()] * 2 + [b"\xff"]
    with pytest.raises(BadInput, match="expected a text"):
        fetch(folder, "text-tokens", 1.5)


def test_a_series_is_numbers_in_any_form(folder: Path) -> None:
    assert fetch(folder, "series", [1.5, 2, "3"]) == b"1.5,2,3"
    assert fetch(folder, "series", "[1, 2]") == fetch(folder, "series", b"[1, 2]") == b"[1, 2]"
    for bad in ([1.0, None], [True], [[1.0]]):
        with pytest.raises(BadInput, match="which is not a number"):
            fetch(folder, "series", bad)
    with pytest.raises(BadInput, match="a list of numbers"):
        fetch(folder, "series", {"a": 1})


def test_a_store_that_fails_is_no_fault_of_a_file() -> None:
    class Files:
        def __init__(self, cause: OSError) -> None:
            self._cause = cause

        def open_input_file(self, path: str) -> None:
            raise self._cause

    def attempt(cause: OSError) -> None:
        read_file(Place(Files(cause), "bucket/a.png", "s3"), "bucket/a.png", MAX_BYTES)

    for cause in (OSError("AWS Error NETWORK_CONNECTION"), OSError(errno.EIO, "I/O error")):
        with pytest.raises(DataError, match=r"s3://bucket/a\.png: the store fails"):
            attempt(cause)
    for cause in (OSError("AWS Error ACCESS_DENIED"), FileNotFoundError(errno.ENOENT, "No such file")):
        with pytest.raises(BadInput, match=r"s3://bucket/a\.png: cannot be read"):
            attempt(cause)


TEXT, BYTES, NUMBERS = pa.string(), pa.large_binary(), pa.list_(pa.float32())
HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("image-resize", [TEXT, BYTES, HF, pa.dictionary(pa.int32(), TEXT), pa.string_view()], [pa.int64(), NUMBERS]),
        ("text-tokens", [TEXT, BYTES, pa.large_string()], [HF, pa.int64(), NUMBERS]),
        ("series", [TEXT, NUMBERS, pa.large_list(pa.int8()), pa.list_(pa.float64(), 24)], [HF, pa.list_(TEXT)]),
    ],
)
def test_which_columns_may_hold_inputs(kind: str, good: list[pa.DataType], bad: list[pa.DataType]) -> None:
    assert all(takes(kind, column, alone=True) for column in good)
    assert not any(takes(kind, column, alone=True) for column in bad)


def test_several_columns_are_numbers_of_one_series() -> None:
    assert takes("series", pa.float32(), alone=False)
    assert not takes("series", pa.float32(), alone=True)
    assert not takes("series", NUMBERS, alone=False)
    assert not takes("image-resize", TEXT, alone=False)
