"""Whole jobs inside the test: what is written, what is refused, and that going on gives an undisturbed one's bytes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bundle.errors import BadInput, BundleError, DataError, TooManyErrors
from bundle.store import open_bundle
from runtime.choice import Wanted
from scoring import job
from scoring.job import Settings, plan, score
from scoring.scorer import Scorer
from scoring.source import Columns
from tests.builders import png, write_fake_bundle
from tests.scoring.running import content, parts, rows, summary, write_pictures, write_series


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "in", 23, bad=(3, 11))


def settings_of(bundle: Path, given: object, output: Path, **changes: Any) -> Settings:
    return Settings(bundle, str(given), str(output), **{"rows_per_shard": 10, **changes})


def test_one_row_an_input_row_in_order_with_errors_filled(picture_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    done = score(settings_of(picture_bundle, pictures, tmp_path / "out"))
    found = rows(tmp_path / "out")
    assert [row["row"] for row in found] == list(range(23))
    assert [row["source"] for row in found] == [str(pictures / f"{i:05}.png") for i in range(23)]
    assert [row["row"] for row in found if row["error"]] == [3, 11]
    assert all((row["label"] is None) == bool(row["error"]) for row in found)
    digest = open_bundle(picture_bundle).manifest.digest
    assert {(row["model"], row["version"], row["digest"]) for row in found} == {("fake", 1, digest)}
    assert [len(parquet.read_table(part)) for part in parts(tmp_path / "out")] == [10, 10, 3]
    assert (done.num_rows, done.num_errors, done.errors, done.num_parts) == (23, 2, {"BadInput": 2}, 3)
    assert summary(tmp_path / "out")["batch_p99_ms"] > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("part-")) == [
        "_claim", "_done", "_job.json", "_summary.json",
    ]  # fmt: skip


def test_the_same_rows_in_every_format(picture_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    for form in ("parquet", "csv", "jsonl"):
        score(settings_of(picture_bundle, pictures, tmp_path / form, format=form))
    expected = rows(tmp_path / "parquet")
    assert rows(tmp_path / "jsonl") == expected
    for row, other in zip(rows(tmp_path / "csv"), expected, strict=True):
        assert list(row) == list(other)
        assert json.loads(row.pop("top_k") or "null") == other.pop("top_k")
        assert row == {name: "" if value is None else str(value) for name, value in other.items()}


def test_masks_as_columns_and_as_files_are_the_same(mask_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    for kind in ("columns", "files"):
        score(settings_of(mask_bundle, pictures, tmp_path / kind, pictures=kind))
    for inside, beside in zip(rows(tmp_path / "columns"), rows(tmp_path / "files"), strict=True):
        mask, path = inside.pop("mask_png"), beside.pop("mask_png")
        assert inside == beside
        assert (mask is None) == (path is None) == bool(inside["error"])
        assert path is None or (tmp_path / "files" / path).read_bytes() == mask


def test_kept_columns_stand_beside_the_answers(series_bundle: Path, tmp_path: Path) -> None:
    path = write_series(tmp_path / "in.parquet", 25, bad=(7,))
    score(settings_of(series_bundle, path, tmp_path / "out", columns=Columns((), {"id": "key", "series": "values"})))
    found = rows(tmp_path / "out")
    assert [row["key"] for row in found] == list(range(25))
    assert json.loads(found[7]["values"]) == [7.0, 8.0, 9.0]
    assert found[7]["error"].startswith("the series has 3 values")
    assert parquet.read_schema(parts(tmp_path / "out")[0]).field("key").type == pa.int64()


@pytest.mark.parametrize("name", ["id", "label", "row"])
def test_a_kept_column_cannot_be_called_like_another(picture_bundle: Path, tmp_path: Path, name: str) -> None:
    parquet.write_table(pa.table({"image": [png()], "a": [1], "b": [2]}), tmp_path / "t.parquet")
    keep = {"a": name, "b": "id"}
    with pytest.raises(BadInput, match=f"two columns of the output would be '{name}'"):
        plan(settings_of(picture_bundle, tmp_path / "t.parquet", tmp_path / "out", columns=Columns((), keep)))


def test_options_are_the_requests_and_unknown_ones_are_refused(
    picture_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    score(settings_of(picture_bundle, pictures, tmp_path / "out", options=("top_k=2",)))
    assert {len(row["top_k"]) for row in rows(tmp_path / "out") if row["top_k"]} == {2}
    with pytest.raises(BadInput, match="takes top_k"):
        plan(settings_of(picture_bundle, pictures, tmp_path / "no", options=("best=2",)))


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_an_input_without_rows_gives_one_part_without_rows(text_bundle: Path, tmp_path: Path, form: str) -> None:
    parquet.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "t.parquet")
    done = score(settings_of(text_bundle, tmp_path / "t.parquet", tmp_path / "out", format=form))
    assert (done.num_rows, done.num_parts) == (0, 1)
    assert [path.name for path in parts(tmp_path / "out")] == [f"part-00000-00000.{form}"]
    assert rows(tmp_path / "out") == []
    before = content(tmp_path / "out")
    score(settings_of(text_bundle, tmp_path / "t.parquet", tmp_path / "out", format=form))
    assert content(tmp_path / "out") == before


def test_limit_and_sample_choose_rows_and_nothing_else(series_bundle: Path, tmp_path: Path) -> None:
    path = write_series(tmp_path / "in.parquet", 60)

    def scored(name: str, **changes: Any) -> dict[int, Any]:
        score(settings_of(series_bundle, path, tmp_path / name, **changes))
        return {row["row"]: row for row in rows(tmp_path / name)}

    everything = scored("all")
    limited, sampled = scored("limit", limit=25), scored("sample", sample=0.3)
    assert limited == {number: everything[number] for number in range(25)}
    assert 5 < len(sampled) < 35
    assert sampled == {number: everything[number] for number in sampled}
    assert scored("both", limit=25, sample=0.3) == {number: row for number, row in sampled.items() if number < 25}


def test_the_job_stops_when_too_many_rows_are_bad_and_says_why(series_bundle: Path, tmp_path: Path) -> None:
    path = write_series(tmp_path / "in.parquet", 2000, bad=range(300, 1000))
    asked = settings_of(series_bundle, path, tmp_path / "out", rows_per_shard=100, max_error_share=0.2)
    for _ in range(2):  # going on stops in the same way, since what was finished counts
        with pytest.raises(
            TooManyErrors, match=r"of \d+ rows are bad, more than --max-error-share 0.2 allows; the fir"
        ):
            score(asked)
        assert 3 <= len(parts(tmp_path / "out")) < 10
        assert not (tmp_path / "out/_summary.json").exists()
    done = score(replace(asked, max_error_share=0.8))
    assert (done.num_rows, done.num_errors) == (2000, 700)
    with pytest.raises(
        TooManyErrors, match=r"700 of 2000 rows are bad, more than --max-error-share 0\.2 allows; parts"
    ):
        score(asked)


def test_few_rows_are_judged_at_the_end(picture_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TooManyErrors, match="2 of 23 rows are bad"):
        score(settings_of(picture_bundle, pictures, tmp_path / "out", max_error_share=0.05))
    assert len(rows(tmp_path / "out")) == 23


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("format", {"format": "csv"}),
    ("options", {"options": ("top_k=1",)}),
    ("rows_per_shard", {"rows_per_shard": 11}),
    ("limit", {"limit": 5}),
    ("sample", {"sample": 0.5}),
    ("format", {"pictures": "files"}),
]


@pytest.mark.parametrize(("name", "changes"), CHANGES, ids=str)
def test_another_job_on_the_same_output_is_refused(
    picture_bundle: Path, pictures: Path, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    asked = settings_of(picture_bundle, pictures, tmp_path / "out")
    score(asked)
    before = content(tmp_path / "out")
    with pytest.raises(DataError, match=f"another job's output: {name} was .*, now .*; name a new output"):
        score(replace(asked, **changes))
    assert content(tmp_path / "out") == before


def test_a_changed_input_or_bundle_is_refused(pictures: Path, tmp_path: Path) -> None:
    asked = settings_of(write_fake_bundle(tmp_path / "models"), pictures, tmp_path / "out")
    score(asked)
    (pictures / "00007.png").write_bytes(png(seed=99))
    with pytest.raises(DataError, match="input_digest was"):
        score(asked)
    other = settings_of(write_fake_bundle(tmp_path / "others", labels=("a", "b")), pictures, tmp_path / "out")
    with pytest.raises(DataError, match=r"digest was .* \(and input_digest\)"):
        score(other)


def test_the_same_input_in_other_words_is_the_same_job(
    picture_bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(settings_of(picture_bundle, pictures, tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    assert score(settings_of(picture_bundle.parent, "./in/", Path("out"), workers=1)).rows_now == 0
    assert summary(tmp_path / "out")["rows_now"] == 23  # the summary still tells of the run that did it


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"sample": 0.0}, BadInput, "--sample is 0"),
        ({"sample": float("nan")}, BadInput, "--sample is nan"),
        ({"max_error_share": 1.5}, BadInput, "--max-error-share is 1.5"),
        ({"limit": 0}, BadInput, "--limit is 0"),
        ({"rows_per_shard": -1}, BadInput, "--rows-per-shard is -1"),
        ({"workers": 0}, BadInput, "--workers is 0"),
        ({"input": "/nowhere/at/all"}, DataError, "/nowhere/at/all: cannot be listed: there is no such"),
        ({"bundle": Path("/nowhere")}, BundleError, "holds no version"),
        ({"wanted": Wanted(artefact="int9")}, BundleError, "artefact 'int9'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    picture_bundle: Path, pictures: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], problem: str
) -> None:
    asked = replace(settings_of(picture_bundle, pictures, tmp_path / "out"), **changes)
    with pytest.raises(error, match=problem):
        score(asked)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_left_as_it_is(picture_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"not empty \(thesis\.txt\), and no scoring job wrote it"):
        score(settings_of(picture_bundle, pictures, tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    with pytest.raises(DataError, match="it is a file; name a folder"):
        score(settings_of(picture_bundle, pictures, tmp_path / "out/thesis.txt"))


@pytest.mark.parametrize("below", ["", "out", "deep/out"])
def test_an_output_inside_of_its_input_is_refused(
    picture_bundle: Path, pictures: Path, tmp_path: Path, below: str
) -> None:
    with pytest.raises(DataError, match="the output lies inside of the input"):
        score(settings_of(picture_bundle, pictures, pictures / below))


def test_a_bundle_of_another_task_says_what_it_reads(text_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of its 23 files is read for this model: \.txt, or tables"):
        score(settings_of(text_bundle, pictures, tmp_path / "out"))


def test_a_finished_part_that_is_gone_or_cut_is_told(picture_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    asked = settings_of(picture_bundle, pictures, tmp_path / "out")
    score(asked)
    before = content(tmp_path / "out")
    part = tmp_path / "out/part-00000-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"part-00000-00001\.parquet was finished with \d+ bytes, and has \d+ bytes"):
        score(asked)
    part.unlink()
    with pytest.raises(DataError, match=r"and is gone; to have it again, remove _done/part-00000-00001\.json"):
        score(asked)
    (tmp_path / "out/_done/part-00000-00001.json").unlink()
    assert score(asked).rows_now == 10
    assert content(tmp_path / "out") == before


def test_an_unreadable_part_of_the_input_in_the_middle_stops_the_job_with_its_place(
    text_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text\n" + "a b c\n" * 34 + '"never closed\n' + "more\n" * 4)
    with pytest.raises(DataError, match=r"in\.csv: cannot be read any further: the quote that opens at line 36"):
        score(settings_of(text_bundle, path, tmp_path / "out"))
    assert len(rows(tmp_path / "out")) == 30
    assert not (tmp_path / "out/_unfinished").exists()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows every call of a scorer had."""
    sizes: list[int] = []

    class Counting(Scorer):
        def __call__(self, raws: Sequence[Any]) -> list[Any]:
            sizes.append(len(raws))
            return super().__call__(raws)

    monkeypatch.setattr(job, "Scorer", Counting)
    return sizes


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_rows=st.integers(0, 60),
    per_shard=st.integers(1, 25),
    limit=st.none() | st.integers(1, 70),
    sample=st.none() | st.floats(0.05, 1),
    form=st.sampled_from(["parquet", "csv", "jsonl"]),
    workers=st.integers(1, 4),
    data=st.data(),
)
def test_going_on_gives_the_same_bytes_and_redoes_nothing(
    series_bundle: Path, tmp_path_factory: pytest.TempPathFactory, counted: list[int], num_rows: int, per_shard: int,
    limit: int | None, sample: float | None, form: Any, workers: int, data: st.DataObject,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("job")
    path = write_series(folder / "in.parquet", num_rows, bad=range(0, num_rows, 7), row_group=16)
    asked = Settings(
        series_bundle, str(path), str(folder / "out"), format=form, rows_per_shard=per_shard, limit=limit,
        sample=sample, workers=workers,
    )  # fmt: skip
    score(asked)
    undisturbed = content(folder / "out")
    numbers = [int(row["row"]) for row in rows(folder / "out")]
    assert len(set(numbers)) == len(numbers)
    if sample is None:
        assert numbers == list(range(min(num_rows, limit or num_rows)))
    lost = data.draw(st.sets(st.sampled_from(sorted(path.stem for path in (folder / "out/_done").iterdir()))))
    for name in lost:  # as a crash leaves it: a shard is not finished, and its part may be there or not
        (folder / f"out/_done/{name}.json").unlink()
        for part in (folder / "out").glob(f"{name}.*"):
            if data.draw(st.booleans()):
                part.unlink()
    kept = {path.name: path.stat().st_ino for path in parts(folder / "out") if path.stem not in lost}
    counted.clear()
    redone = score(replace(asked, workers=data.draw(st.integers(1, 4)))).rows_now
    assert content(folder / "out") == undisturbed
    assert sum(counted) == redone == sum(int(number) // per_shard in _shards(lost) for number in numbers)
    assert {path.name: path.stat().st_ino for path in parts(folder / "out") if path.name in kept} == kept


def _shards(names: set[str]) -> set[int]:
    return {int(name.rpartition("-")[2]) for name in names}
