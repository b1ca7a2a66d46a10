"""Sources: what is taken as input and what is not, which column, one schema for all files, and what is refused."""

import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from bundle.errors import BadInput, DataError
from scoring.source import Columns, Source, open_source
from scoring.store import place


def opened(path: Path, kind: str = "text-tokens", *inputs: str, **keep: str) -> Source:
    return open_source(place(str(path)), kind, Columns(inputs, {old: new for new, old in keep.items()}))


def raws(source: Source, start: int = 0) -> list[Any]:
    return [row.raw() for index in range(len(source.files)) for row in source.rows(index, start)]


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)
    return path


def test_files_are_inputs_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.TXT", "a.txt", "_c.txt", "notes.md", "sub/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = opened(tmp_path)
    assert (source.num_rows, source.files) == (4, [str(tmp_path)])
    assert [(row.number, row.raw()) for row in source.rows(0, 1)] == [(1, b"a.txt"), (2, b"b.TXT"), (3, b"sub/d.txt")]
    assert source.about == "4 files, 0.0 MB; 1 more are not read: .md (1)"


def test_tables_beside_pictures_are_read_only_where_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from a file")
    write(tmp_path / "t.parquet", text=["from a table"])
    write(tmp_path / "_aside/t.parquet", text=["not data"])
    assert raws(opened(tmp_path)) == [b"from a file"]
    assert raws(opened(tmp_path, "text-tokens", "text")) == [b"from a table"]


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [({"id": [1], "text": ["x"]}, "x"), ({"anything": ["x"]}, "x"), ({"review": ["x"], "n": [1]}, "x")],
)
def test_the_usual_column_needs_no_name(tmp_path: Path, columns: dict[str, Any], chosen: str) -> None:
    assert raws(opened(write(tmp_path / "t.parquet", **columns))) == [chosen.encode()]


def test_several_columns_are_one_series(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "t.parquet", a=[1.5, 2.5], b=[3, 4]), "series", "a", "b")
    assert raws(source) == [b"1.5,3", b"2.5,4"]


def test_files_without_a_byte_among_others_have_no_rows(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_bytes(b"")
    (tmp_path / "1.jsonl").write_bytes(b'{"text": "x", "id": 1}\n')
    source = opened(tmp_path, id="id")
    assert raws(source) == [b"x"]
    assert [field.name for field in source.kept] == ["id"]


def test_kept_columns_come_under_their_new_names_with_their_types(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "t.parquet", text=["x"], id=[7]), number="id", again="text")
    assert source.kept == [pa.field("number", pa.int64()), pa.field("again", pa.string())]
    assert [row.kept for row in source.rows(0, 0)] == [(7, "x")]


def test_a_row_knows_what_it_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", image=[{"bytes": bytes(1000), "path": None}])
    assert [row.num_bytes for row in opened(path, "image-resize").rows(0, 0)] == [1000]


@pytest.mark.parametrize(
    ("kind", "inputs", "columns", "problem"),
    [
        ("text-tokens", ("nope",), {"text": ["x"]}, "no column 'nope'; it has 'text' \\(string\\)"),
        ("text-tokens", (), {"a": ["x"], "b": ["x"]}, "which column holds the inputs"),
        ("text-tokens", ("n",), {"n": [1]}, "column 'n' is int64; this model reads a text"),
        ("image-resize", ("series",), {"series": [[1.0]]}, "is list<.*; this model reads the bytes of a picture"),
        ("text-tokens", ("text", "b"), {"text": ["x"], "b": ["x"]}, "2 columns together are one series of numbers"),
        ("series", ("a", "b"), {"a": [[1.0]], "b": [1.0]}, "2 columns together are one series of numbers"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(
    tmp_path: Path, kind: str, inputs: tuple[str, ...], columns: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        opened(write(tmp_path / "t.parquet", **columns), kind, *inputs)
    assert "t.parquet" in str(caught.value)


def test_two_columns_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,a,a\n1,2,3\n")
    assert raws(opened(tmp_path)) == [b"1"]
    with pytest.raises(DataError, match="more than one column is called 'a'"):
        opened(tmp_path, "text-tokens", "a")


def test_mixed_schemas_are_refused_with_the_file_and_both_types(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", text=["x"], id=[1], free=[1])
    write(tmp_path / "b.parquet", text=["x"], id=["1"])
    assert len(raws(opened(tmp_path))) == 2  # what nobody asks for may differ
    with pytest.raises(DataError, match=r"b\.parquet: column 'id' is string, and int64 in the first file"):
        opened(tmp_path, key="id")
    write(tmp_path / "c.parquet", text=[b"x"])
    with pytest.raises(DataError, match=r"c\.parquet: column 'text' is binary, and string in the first file"):
        opened(tmp_path)


def test_an_unreadable_file_in_the_middle_is_named_before_anything_begins(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.parquet", text=["x"])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and nonsense PAR1")
    with pytest.raises(DataError, match=r"b\.parquet: cannot be read"):
        opened(tmp_path)


def test_several_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nx\n")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match="files of several formats \\(csv, jsonl\\)"):
        opened(tmp_path)
    assert raws(opened(tmp_path / "*.csv")) == [b"x"]


def test_columns_of_single_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="these are single files"):
        opened(tmp_path, "text-tokens", "text")


def test_a_hundred_thousand_other_files_are_refused_soon_and_told(tmp_path: Path) -> None:
    for name in "abcd":  # links are made faster than files, and a file has so many at most
        (tmp_path / f"{name}.heic").write_bytes(b"")
        (tmp_path / f"of-{name}").mkdir()
        for i in range(25_000):
            os.link(tmp_path / f"{name}.heic", f"{tmp_path}/of-{name}/{i:05}.heic")
    start = time.process_time()
    with pytest.raises(DataError, match=r"none of its 100004 files is read for this model: \.jpg.*\.heic \(100004\)"):
        opened(tmp_path, "image-resize")
    assert time.process_time() - start < 4


def test_a_row_that_cannot_be_read_keeps_its_number_and_its_reason(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,id\nx,1\ny\nz,3\n")
    rows = list(opened(tmp_path, id="id").rows(0, 0))
    assert [(row.number, row.kept) for row in rows] == [(0, ("1",)), (1, (None,)), (2, ("3",))]
    with pytest.raises(BadInput, match="line 3: the row has 1 cells"):
        rows[1].raw()


def test_the_digest_tells_a_changed_input(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    before = opened(tmp_path).digest
    assert opened(tmp_path).digest == before
    os.utime(path, ns=(0, 1))
    touched = opened(tmp_path).digest
    (tmp_path / "b.txt").write_text("x")
    assert len({before, touched, opened(tmp_path).digest}) == 3
