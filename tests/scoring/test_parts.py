"""Parts: there whole or not at all, the same bytes for the same rows, and read back by anybody."""

import csv
import json
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
from pyarrow import parquet

from bundle.errors import DataError
from scoring import parts
from scoring.parts import Format, Part
from scoring.store import place

SCHEMA = pa.schema(
    [("source", pa.string()), ("row", pa.int64()), ("mask", pa.binary()), ("list", pa.list_(pa.float64())),
     ("error", pa.string()), ("model", pa.string()), ("digest", pa.string())]
)  # fmt: skip


def batch(start: int, size: int = 3) -> pa.RecordBatch:
    numbers = range(start, start + size)
    columns = [[f's,"{i}"\n' for i in numbers], list(numbers), [bytes([i % 256]) for i in numbers]]
    columns += [[[i / 3] for i in numbers], [None] * size, ["m"] * size, ["d"] * size]
    return pa.RecordBatch.from_arrays(
        [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def write(folder: Path, form: Format, *batches: pa.RecordBatch) -> Path:
    part = Part(place(str(folder)), "part-0", SCHEMA, form)
    for one in batches:
        part.write(one)
    assert not (folder / part.name).exists()
    assert part.commit() == (folder / part.name).stat().st_size
    return folder / part.name


def test_parquet_has_the_rows_and_the_types(tmp_path: Path) -> None:
    found = parquet.read_table(write(tmp_path, "parquet", batch(0), batch(3)))
    assert found.to_pylist() == [*batch(0).to_pylist(), *batch(3).to_pylist()]
    assert found.schema.names == SCHEMA.names


def test_csv_has_flat_cells_and_json_where_there_is_more(tmp_path: Path) -> None:
    with write(tmp_path, "csv", batch(0), batch(3)).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [f's,"{i}"\n' for i in range(6)]
    assert [json.loads(row["list"]) for row in rows] == [[i / 3] for i in range(6)]
    assert rows[1]["mask"] == "AQ=="
    assert rows[0]["error"] == ""


def test_jsonl_has_an_object_a_line(tmp_path: Path) -> None:
    lines = write(tmp_path, "jsonl", batch(0), batch(3)).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["list"] for line in lines] == [[i / 3] for i in range(6)]


@pytest.mark.parametrize("form", get_args(Format))
def test_the_same_rows_are_the_same_bytes_and_no_rows_are_a_part_too(tmp_path: Path, form: Format) -> None:
    first, second, none = (
        write(tmp_path / name, form, *batches).read_bytes()
        for name, batches in {"a": [batch(0), batch(3)], "b": [batch(0), batch(3)], "c": []}.items()
    )
    assert first == second
    assert len(none) < len(first)


def test_row_groups_end_where_rows_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 2 * batch(0).nbytes)
    path = write(tmp_path, "parquet", *(batch(3 * i) for i in range(5)))
    metadata = parquet.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [6, 6, 3]


@pytest.mark.parametrize("form", get_args(Format))
def test_a_part_that_is_given_up_leaves_nothing(tmp_path: Path, form: Format) -> None:
    part = Part(place(str(tmp_path)), "part-0", SCHEMA, form)
    part.write(batch(0))
    part.discard()
    assert list((tmp_path / "_unfinished").iterdir()) == []


def test_a_place_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "_unfinished").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"part-0\.parquet: cannot be written: .*; nothing is left under that name"):
        Part(place(str(tmp_path)), "part-0", SCHEMA, "parquet")


def test_every_format_has_a_writer() -> None:
    assert set(parts.WRITERS) == set(get_args(Format))
