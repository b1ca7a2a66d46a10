"""Jobs on S3 (moto's server on loopback): input, output, both; going on; pictures in files; tables of paths."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs, parquet

from bundle.errors import DataError
from scoring import claim
from scoring.claim import Times
from scoring.job import Settings, score
from scoring.listing import listing
from scoring.store import Place, place
from tests.scoring.running import PATIENCE_S, command, content, environment, rows, run, write_pictures, write_series
from tests.scoring.s3 import Store

NUM_PICTURES = 12


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "USUAL", Times(settle=0.05))


@pytest.fixture
def bucket(s3: Store) -> str:
    return s3.make_bucket()


@pytest.fixture
def at(s3: Store, bucket: str) -> Callable[[str], str]:
    """The URL of a key."""
    return lambda key: f"s3://{bucket}/{key}{s3.query}"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "in", NUM_PICTURES, bad=(3,))


def upload(folder: Path, url: str) -> str:
    where = place(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = where.below(path.relative_to(folder).as_posix()).path
            with where.files.open_output_stream(key, compression=None) as stream:
                stream.write(path.read_bytes())
    return url


def download(url: str, folder: Path) -> Path:
    where = place(url)
    selected = where.files.get_file_info(fs.FileSelector(where.path, recursive=True))
    for file in (one for one in selected if one.type == fs.FileType.File):
        path = folder / file.path.removeprefix(f"{where.path}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(where.files.open_input_stream(file.path).read())
    return folder


def without_sources(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in ("source", "error")} for row in found]


def test_from_a_store_into_a_store_is_what_is_local(
    picture_bundle: Path, pictures: Path, tmp_path: Path, at: Callable[[str], str], bucket: str
) -> None:
    given = upload(pictures, at("some pictures/[1]"))
    done = score(Settings(picture_bundle, given, at("out"), rows_per_shard=5))
    assert (done.num_rows, done.num_errors, done.num_parts) == (NUM_PICTURES, 1, 3)
    remote = rows(download(at("out"), tmp_path / "remote"))
    score(Settings(picture_bundle, str(pictures), str(tmp_path / "local"), rows_per_shard=5))
    assert without_sources(remote) == without_sources(rows(tmp_path / "local"))
    assert remote[0]["source"] == f"s3://{bucket}/some pictures/[1]/00000.png"
    assert sorted(path.name for path in (tmp_path / "remote").iterdir() if path.is_file()) == [
        "_job.json", "_summary.json", *(f"part-00000-0000{i}.parquet" for i in range(3)),
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["in/*.png", "in/0000[0-5].png", "**/*.png", "in/00001.png"])
def test_patterns_in_a_store(pictures: Path, at: Callable[[str], str], bucket: str, pattern: str) -> None:
    upload(pictures, at("in"))
    found = [file.path for file in listing(place(at(pattern)))]
    assert found == [f"{bucket}/in/{path.name}" for path in sorted(pictures.parent.glob(pattern))]


def test_out_of_a_store_and_into_one(series_bundle: Path, tmp_path: Path, at: Callable[[str], str]) -> None:
    write_series(tmp_path / "in/t.parquet", 40, bad=(3,), row_group=8)
    upload(tmp_path / "in", at("in"))
    score(Settings(series_bundle, at("in"), str(tmp_path / "local"), rows_per_shard=15))
    score(Settings(series_bundle, str(tmp_path / "in"), at("out"), rows_per_shard=15))
    remote = rows(download(at("out"), tmp_path / "remote"))
    assert without_sources(remote) == without_sources(rows(tmp_path / "local"))
    assert len(remote) == 40


def test_tables_name_pictures_of_their_bucket(
    picture_bundle: Path, pictures: Path, tmp_path: Path, at: Callable[[str], str], bucket: str
) -> None:
    upload(pictures, at("pictures"))
    paths = [f"s3://{bucket}/pictures/00000.png", "../pictures/00001.png", "../pictures/lost.png",
             "/home/me/a.png", "https://host/a.png", "s3://not-there-at-all/a.png"]  # fmt: skip
    (tmp_path / "tables").mkdir()
    parquet.write_table(pa.table({"path": paths}), tmp_path / "tables/t.parquet")
    upload(tmp_path / "tables", at("tables"))
    score(Settings(picture_bundle, at("tables"), str(tmp_path / "out")))
    found = [row["error"] for row in rows(tmp_path / "out")]
    assert [bool(one) for one in found] == [False, False, True, True, True, True]
    assert "only pictures of the same store" in found[4]


def test_going_on_redoes_nothing_and_gives_the_same_bytes(
    mask_bundle: Path, pictures: Path, tmp_path: Path, at: Callable[[str], str], bucket: str
) -> None:
    asked = Settings(mask_bundle, str(pictures), at("out"), rows_per_shard=5, pictures="files")
    score(asked)
    calm = content(download(at("out"), tmp_path / "calm"))
    where = place(at("out"))
    where.files.delete_file(f"{bucket}/out/_done/part-00000-00001.json")
    where.files.delete_file(f"{bucket}/out/part-00000-00001.parquet")
    kept = where.files.get_file_info(f"{bucket}/out/part-00000-00000.parquet").mtime_ns
    time.sleep(1.1)  # the store's clock ticks in seconds
    assert score(asked).rows_now == 5
    assert content(download(at("out"), tmp_path / "again")) == calm
    assert where.files.get_file_info(f"{bucket}/out/part-00000-00000.parquet").mtime_ns == kept
    with pytest.raises(DataError, match=f"s3://{bucket}/out: it holds another job's output: format was"):
        score(Settings(mask_bundle, str(pictures), at("out"), rows_per_shard=5))


def test_a_job_on_a_store_that_was_killed_goes_on(
    series_bundle: Path, tmp_path: Path, s3: Store, bucket: str, at: Callable[[str], str]
) -> None:
    """Whole processes, led to the store by the environment alone."""
    path = write_series(tmp_path / "in.parquet", 30_000, row_group=5000)
    arguments = (series_bundle, path, f"s3://{bucket}/out", "--rows-per-shard", 1500)
    where: Place = place(at("out"))
    first = where.below("_done/part-00000-00001.json")
    with subprocess.Popen(
        command(*arguments), env=environment(s3.environment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as job:
        deadline = time.monotonic() + PATIENCE_S
        while not first.exists():
            assert job.poll() is None, job.stderr and job.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        job.kill()
    assert where.below("_claim").exists()
    lease = json.loads(where.files.open_input_stream(where.below("_claim").path).read())
    assert lease["until"] > time.time() + 20
    where.files.delete_file(where.below("_claim").path)  # a minute goes by
    done = run(*arguments, changes=s3.environment)
    assert done.returncode == 0, done.stderr
    score(Settings(series_bundle, str(path), str(tmp_path / "calm"), rows_per_shard=1500))
    calm = {name: data for name, data in content(tmp_path / "calm").items() if name != "_job.json"}
    found = content(download(at("out"), tmp_path / "remote"))
    assert {name: data for name, data in found.items() if name != "_job.json"} == calm


def test_a_bucket_that_is_not_there_says_so(picture_bundle: Path, pictures: Path, s3: Store) -> None:
    with pytest.raises(DataError, match="s3://not-there-at-all/in: "):
        score(Settings(picture_bundle, f"s3://not-there-at-all/in{s3.query}", "/nowhere"))
    with pytest.raises(DataError, match="s3://not-there-at-all/out"):
        score(Settings(picture_bundle, str(pictures), f"s3://not-there-at-all/out{s3.query}"))


def test_a_compressed_table_of_a_store(text_bundle: Path, tmp_path: Path, at: Callable[[str], str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/t.jsonl.zst").write_bytes(pa.compress(b'{"text": "a b"}\n{"text": ""}\n', "zstd", asbytes=True))
    upload(tmp_path / "in", at("in"))
    score(Settings(text_bundle, at("in/t.jsonl.zst"), str(tmp_path / "out")))
    assert [bool(row["error"]) for row in rows(tmp_path / "out")] == [False, True]
