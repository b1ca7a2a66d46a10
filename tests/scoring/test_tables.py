"""Tables: every format in every wrapping, bad rows that stay rows, and files that cannot be read."""

import bz2
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from bundle.errors import BadInput, DataError
from scoring import lines
from scoring.listing import listing
from scoring.store import place
from scoring.tables import Table, format_of


def table_at(path: Path) -> Table:
    where = place(str(path))
    return Table(where, listing(where)[0])


def table(path: Path, content: bytes) -> Table:
    if path.suffix == ".gz":
        content = gzip.compress(content[: len(content) // 2]) + gzip.compress(content[len(content) // 2 :])
    if path.suffix == ".zst":
        content = pa.compress(content, "zstd", asbytes=True)
    path.write_bytes(content)
    return table_at(path)


def read(table: Table, columns: Sequence[str] = ("text",), keep: Sequence[str] = (), start: int = 0) -> list[Any]:
    """Inputs and kept values of every row, or its error as text."""
    return [
        str(row) if isinstance(row, BadInput) else (*row.inputs, *row.kept) for row in table.rows(start, columns, keep)
    ]


CSV = '\ufefftext,id\r\n"a, ""b""\nc",1\r\nüä,2\r\n\r\n,3\r\n'.encode()
JSONL = '\ufeff{"text": "a, \\"b\\"\\nc", "id": "1"}\n\n  \n{"id": "2", "text": "üä"}\n{"text": "", "id": "3"}'.encode()
ROWS = [('a, "b"\nc', "1"), ("üä", "2"), ("", "3")]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "T.CSV.zst", "t.jsonl", "t.ndjson.gz", "t.jsonl.zst"])
def test_texts_in_every_wrapping(tmp_path: Path, name: str) -> None:
    found = table(tmp_path / name, CSV if "csv" in name.lower() else JSONL)
    head = found.head()
    assert sorted(head.columns) == ["id", "text"]
    assert head.num_rows is None
    assert read(found, keep=["id"]) == ROWS
    assert read(found, keep=["id"], start=2) == ROWS[2:]


def test_formats_by_name() -> None:
    given = ["a.parquet", "a.CSV.GZ", "a.ndjson", "a.jsonl.zst", "a.parquet.gz", "a.txt", "a.gz"]
    assert [format_of(name) for name in given] == ["parquet", "csv", "jsonl", "jsonl", None, None, None]


def test_bad_rows_of_a_csv_file_are_rows(tmp_path: Path) -> None:
    found = table(tmp_path / "t.csv", b'text,id\nshort\ngood,1\n"a"b,2\nlong,1,2\n\xff,3\ngood,4\n')
    got = read(found)
    assert got[1] == got[5] == ("good",)
    assert got[4] == ("\udcff",)
    assert [got[0], got[3]] == [f"line {n}: the row has {m} cells, the head 2" for n, m in ((2, 1), (5, 3))]
    assert got[2].startswith("line 4 is not CSV: ")
    assert [read(found, start=i) for i in range(7)] == [got[i:] for i in range(7)]


def test_a_quote_that_is_never_closed_ends_the_file_with_its_line(tmp_path: Path) -> None:
    found = table(tmp_path / "t.csv", b'text\ngood\n"never closed\nmore\nmore\n')
    rows = found.rows(0, ["text"], [])
    assert next(rows).inputs == ["good"]  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"t\.csv: cannot be read any further: the quote that opens at line 3"):
        next(rows)


def test_bad_lines_of_a_jsonl_file_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 64)
    long = json.dumps({"text": "x" * 200}).encode()
    bad = [b"{", b"[1]", b"3", b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"[" * 60, long]
    found = table(tmp_path / "t.jsonl", b"\n".join([*bad, b'{"text": null}', b'{"other": 1}', b'{"text": "good"}']))
    got = read(found, keep=["other"])
    assert len(got) == len(bad) + 3
    assert got[len(bad) :] == [(None, None), (None, "1"), ("good", None)]
    assert all(isinstance(one, str) and one.startswith("the line ") for one in got[: len(bad)]), got
    assert list(found.head().columns) == ["text", "other"]


def test_parquet_rows_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {
        "n": pa.array(range(1000)),
        "text": pa.array([f"t{i % 7}" for i in range(1000)]).dictionary_encode(),
        "image": pa.array([{"bytes": bytes([i % 256]), "path": None} for i in range(1000)]),
        "series": pa.array([[float(i)] * 3 for i in range(1000)], pa.list_(pa.float32(), 3)),
        "a.b": pa.array([str(i) for i in range(1000)], pa.large_string()),
    }
    parquet.write_table(pa.table(columns), path, row_group_size=64)
    found = table_at(path)
    assert found.head().num_rows == 1000
    for start in (0, 1, 63, 64, 500, 999, 1000, 2000):
        assert read(found, ["text", "series"], ["n", "a.b"], start) == [
            (f"t{i % 7}", [float(i)] * 3, i, str(i)) for i in range(start, 1000)
        ]
    assert read(found, ["image"], start=999) == [({"bytes": bytes([999 % 256]), "path": None},)]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.csv.gz"])
def test_a_file_without_a_byte_has_no_rows(tmp_path: Path, name: str) -> None:
    head = table(tmp_path / name, b"").head()
    assert (head.columns, head.num_rows) == ({}, 0)


def test_two_columns_of_one_name_are_told(tmp_path: Path) -> None:
    assert table(tmp_path / "t.csv", b"a,b,a\n1,2,3\n").head().twice == {"a"}
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    assert table_at(tmp_path / "t.parquet").head().twice == {"a"}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.parquet", b"not parquet", "cannot be read: "),
        ("t.parquet", b"", "cannot be read: "),
        ("t.csv", "text,ü\n".encode("utf-16"), "not UTF-8"),
        ("t.csv", b"gr\xfc\xdfe\n", "not UTF-8"),
        ("t.jsonl", b"{\n[]\n", "no columns"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        table(tmp_path / name, content).head()
    assert str(tmp_path / name) in str(caught.value)


def test_a_compressed_file_that_is_none_or_ends_too_early(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(bz2.compress(CSV))
    with pytest.raises(DataError, match=r"a\.csv\.gz: cannot be read"):
        table_at(tmp_path / "a.csv.gz").head()
    many = b"text\n" + b"".join(b"line %d\n" % i for i in range(100_000))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(many)[:-1000])
    with pytest.raises(DataError, match=r"b\.csv\.gz: cannot be read any further"):
        read(table_at(tmp_path / "b.csv.gz"))


def test_a_damaged_row_group_ends_the_file_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": [f"text {i}" for i in range(1000)]}), path, row_group_size=100)
    chunk = parquet.ParquetFile(path).metadata.row_group(5).column(0)
    content = bytearray(path.read_bytes())
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    content[at : at + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    rows = table_at(path).rows(0, ["text"], [])
    assert [next(rows).inputs for _ in range(256)] == [[f"text {i}"] for i in range(256)]  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"t\.parquet: cannot be read any further"):
        list(rows)
