"""The local runner: reads ahead within a window, writes in order, and ends soon where it is ended."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from bundle.errors import DataError
from bundle.store import open_bundle
from runtime.choice import Wanted, choose
from runtime.devices import device_info, installed_version
from runtime.runtime import Placement
from scoring.columns import schema
from scoring.in_order import AHEAD
from scoring.journal import Journal
from scoring.local import LocalRunner
from scoring.scorer import Scorer
from scoring.shards import Chunk, Cut, chunks
from scoring.source import Columns, Source, open_source
from scoring.store import place
from scoring.tally import Tally
from scoring.target import Target
from tests.scoring.running import rows, write_pictures

NUM_ROWS, WORKERS = 60, 2


@pytest.fixture
def scorer(picture_bundle: Path) -> Scorer:
    bundle = open_bundle(picture_bundle)
    return Scorer(bundle, choose(bundle, device_info(Placement()), Wanted(), installed_version))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return open_source(place(str(write_pictures(tmp_path / "in", NUM_ROWS))), "image-resize", Columns())


@pytest.fixture
def target(tmp_path: Path, scorer: Scorer) -> Target:
    output = place(str(tmp_path / "out"))
    return Target(output, Journal(output), schema(scorer.predictor.task.result_type, []), "jsonl")


def test_it_reads_no_further_ahead_than_its_window(
    scorer: Scorer, source: Source, target: Target, tmp_path: Path
) -> None:
    begun = written = most = 0

    def watched() -> Iterator[Chunk]:
        nonlocal begun, most
        for chunk in chunks(source, Cut(1000, 2), {}):
            begun += 1
            most = max(most, begun - written)
            yield chunk

    def told(num_rows: int, errors: Counter[str]) -> None:
        nonlocal written
        written += 1

    LocalRunner(scorer, WORKERS, told).run(source, watched(), target, Tally(), 1.0)
    assert [row["row"] for row in rows(tmp_path / "out")] == list(range(NUM_ROWS))
    assert written == begun == NUM_ROWS // 2 + 1
    assert most <= WORKERS * (1 + AHEAD) + 1


def test_a_chunk_that_fails_ends_it_and_what_came_before_is_written(
    scorer: Scorer, source: Source, target: Target, tmp_path: Path
) -> None:
    def fail() -> bytes:
        raise DataError("the store fails")

    def failing() -> Iterator[Chunk]:
        for chunk in chunks(source, Cut(10, 2), {}):
            if chunk.shard == 3 and chunk.rows:
                chunk.rows[0] = type(chunk.rows[0])("x", 30, fail)
            yield chunk

    with pytest.raises(DataError, match="the store fails"):
        LocalRunner(scorer, WORKERS, lambda *_: None).run(source, failing(), target, Tally(), 1.0)
    assert [row["row"] for row in rows(tmp_path / "out")] == list(range(30))
    assert list((tmp_path / "out/_unfinished").iterdir()) == []


def test_a_scorer_that_is_stopped_ends_within_a_batch(scorer: Scorer) -> None:
    waiting = threading.Event()

    def slow() -> bytes:
        waiting.set()
        time.sleep(0.01)
        return b""

    caught: list[type[BaseException]] = []

    def call() -> None:
        try:
            scorer([slow] * 10_000)
        except CancelledError as cause:
            caught.append(type(cause))

    thread = threading.Thread(target=call)
    thread.start()
    waiting.wait()
    scorer.stop()
    thread.join(5)
    assert caught == [CancelledError]
