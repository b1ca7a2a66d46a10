"""Places: what people may write, what messages show of it, and files that are there whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from bundle.errors import DataError
from scoring.parts import Part
from scoring.store import clear_unfinished, place, put
from tests.scoring.running import ROOT, environment


def test_a_local_path_is_whole_whatever_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given in ("a/b", "./a/b/", "a/x/../b", f"file://{tmp_path}/a/b", f"{tmp_path}//a/b"):
        assert str(place(given)) == f"{tmp_path}/a/b"


@pytest.mark.parametrize("given", ["", "http://host/x", "ftp://host/x", "s3://", "hdfs://x"])
def test_what_is_no_place_is_refused(given: str) -> None:
    with pytest.raises(DataError, match="no place that is read"):
        place(given)


def test_a_key_may_hold_anything_and_a_secret_is_never_shown() -> None:
    settings = "?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    for key in ("a b/[x]*?.png", "ü/%20", "what?", "a?b/c"):
        found = place(f"s3://ID:SECRET@bucket/{key}{settings}")
        assert (found.path, str(found)) == (f"bucket/{key}", f"s3://bucket/{key}")
    assert str(place(f"s3://bucket{settings}")) == "s3://bucket"
    with pytest.raises(DataError) as caught:
        place("s3://ID:SECRET@bucket/x?nonsense=1")
    assert "SECRET" not in str(caught.value)


def test_a_file_is_put_whole_into_a_folder_that_is_made(tmp_path: Path) -> None:
    output = place(str(tmp_path / "out"))
    put(output, "a/b.json", b"first")
    put(output, "a/b.json", b"second")
    assert (tmp_path / "out/a/b.json").read_bytes() == b"second"
    clear_unfinished(output)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a"]


def test_a_file_that_does_not_fit_is_an_error_and_not_there(tmp_path: Path) -> None:
    """A process that may write no file of more than 1 kB stands for a full disk."""
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
from bundle.errors import DataError
from scoring.store import place, put
try:
    put(place({str(tmp_path)!r}), "pictures/a.png", bytes(5000))
except DataError as cause:
    print(cause)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert f"{tmp_path}/pictures/a.png: cannot be written: " in done.stdout
    assert not (tmp_path / "pictures/a.png").exists()


def test_two_who_write_the_same_part_at_once_never_disturb_each_other(tmp_path: Path) -> None:
    """A node that was given up for dead may live, and finish its shard beside the one that does it again."""
    batch = pa.record_batch({"row": pa.array(range(1000))})
    first, second = (Part(place(str(tmp_path)), "part-00000-00000", batch.schema, "parquet") for _ in range(2))
    for part in (first, second):
        part.write(batch)
    size = first.commit()
    whole = (tmp_path / "part-00000-00000.parquet").read_bytes()
    assert second.commit() == size == len(whole)
    assert (tmp_path / "part-00000-00000.parquet").read_bytes() == whole
