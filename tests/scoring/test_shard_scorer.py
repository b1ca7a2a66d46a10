"""What an actor of a cluster does: the local runner's bytes in any order, and nothing on another machine."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bundle.errors import BundleError, DataError, ModelyardError, RunError
from runtime.runtime import Placement
from scoring.job import Plan, Settings, plan, score
from scoring.shard_scorer import ShardScorer, Work
from scoring.shards import Shard, shards
from tests.scoring.running import content, series, write_example_bundle, write_series


def work_of(planned: Plan, **changes: Any) -> Work:
    work = Work(
        planned.bundle, planned.choice, Placement(), planned.options, planned.source, planned.cut, planned.target,
        planned.job, 1,
    )  # fmt: skip
    return replace(work, **changes)


def write_lines(path: Path, number: int) -> Path:
    """The same rows as text, which has to be read from its beginning."""
    path.write_text("series\n" + "".join(f'"{",".join(map(str, row))}"\n' for row in series(number)))
    return path


@pytest.mark.parametrize("write", [write_series, write_lines], ids=["parquet", "csv"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 1, 3, 1, 0, 2], [2, 2, 0, 4, 3, 1]], ids=str)
def test_shards_in_any_order_and_more_than_once_give_the_local_runners_bytes(
    series_bundle: Path, tmp_path: Path, write: Callable[[Path, int], Path], order: list[int]
) -> None:
    path = write(tmp_path / ("in.csv" if write is write_lines else "in.parquet"), 45)
    asked = Settings(series_bundle, str(path), "", rows_per_shard=10)
    score(replace(asked, output=str(tmp_path / "local")))
    planned = plan(replace(asked, output=str(tmp_path / "out")))
    todo = list(shards(planned.source, planned.cut, planned.target.journal.begin(planned.job)))
    scorer = ShardScorer(work_of(planned))
    reports = [scorer(todo[i]) for i in order]
    assert sum(report.done.num_scored for report in dict(zip(order, reports, strict=True)).values()) == 45
    expected = content(tmp_path / "local")
    assert content(tmp_path / "out") == expected
    assert not any((tmp_path / "out/_unfinished").iterdir())


def test_a_failed_read_is_not_taken_for_the_end_of_a_file(series_bundle: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.csv", 25)
    path.write_text(path.read_text() + '"never closed')
    planned = plan(Settings(series_bundle, str(path), str(tmp_path / "out"), rows_per_shard=10))
    planned.target.journal.begin(planned.job)
    with pytest.raises(DataError, match="never closed"):
        list(shards(planned.source, planned.cut, {}))
    scorer = ShardScorer(work_of(planned))
    scorer(Shard(0, 0, 10))
    for _ in range(2):
        with pytest.raises(DataError, match="never closed"):
            scorer(Shard(0, 2, 10))
    assert [one.name for one in (tmp_path / "out/_done").iterdir()] == ["part-00000-00000.json"]


def another_version(work: Work) -> Work:
    return replace(work, job=msgspec.structs.replace(work.job, versions={"numpy": "1.0"}))


def another_device(work: Work) -> Work:
    device = work.choice.device.model_copy(update={"name": "Another CPU"})
    return replace(work, choice=replace(work.choice, device=device))


def another_bundle(work: Work) -> Work:
    folder = work.bundle.folder
    shutil.rmtree(folder)
    write_example_bundle(folder.parents[1], "series-anomaly-detection", max_batch_size=7)
    return work


def damaged_bundle(work: Work) -> Work:
    (work.bundle.folder / "model.fake.json").write_bytes(b"{}")
    return work


def no_input(work: Work) -> Work:
    Path(work.source.files[0]).unlink()
    return work


def another_input(work: Work) -> Work:
    write_series(Path(work.source.files[0]), 46)
    return work


def no_output(work: Work) -> Work:
    shutil.rmtree(work.target.output.path)
    return work


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (another_version, RunError, r"node \S+ has numpy \S+, and the job was planned with 1\.0: .* one image on all"),
        (another_device, RunError, r"node \S+ has a cpu '.*', and the job is for 'Another CPU': .* nodes of one kind"),
        (another_bundle, RunError, r"node \S+ has another bundle in .*/fake/1 \(digest "),
        (damaged_bundle, BundleError, r"model\.fake\.json"),
        (no_input, DataError, r"node \S+ does not see the input: .*in\.parquet: it is not there; put it on storage"),
        (another_input, DataError, r"in\.parquet: it is another file than the one that was listed"),
        (no_output, DataError, r"node \S+ does not see the output: .*_job\.json is not there; put it on storage"),
    ],
)
def test_a_machine_that_differs_does_nothing(
    tmp_path: Path, change: Callable[[Work], Work], error: type[ModelyardError], said: str
) -> None:
    bundle = write_example_bundle(tmp_path / "models", "series-anomaly-detection")
    path = write_series(tmp_path / "in.parquet", 45)
    planned = plan(Settings(bundle, str(path), str(tmp_path / "out"), rows_per_shard=10))
    planned.target.journal.begin(planned.job)
    with pytest.raises(error, match=said):
        ShardScorer(change(work_of(planned)))


def test_nothing_is_written_once_the_output_is_another_jobs(series_bundle: Path, tmp_path: Path) -> None:
    path = write_series(tmp_path / "in.parquet", 45)
    planned = plan(Settings(series_bundle, str(path), str(tmp_path / "out"), rows_per_shard=10))
    todo = list(shards(planned.source, planned.cut, planned.target.journal.begin(planned.job)))
    scorer = ShardScorer(work_of(planned))
    shutil.rmtree(tmp_path / "out")
    score(Settings(series_bundle, str(path), str(tmp_path / "out"), rows_per_shard=20))
    before = content(tmp_path / "out")
    with pytest.raises(DataError, match="another job's output: rows_per_shard"):
        scorer(todo[0])
    assert content(tmp_path / "out") == before
