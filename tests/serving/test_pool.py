import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bundle.errors import BadInput, InputTooLarge
from bundle.preprocess import Limits
from bundle.store import open_bundle
from bundle.tensors import Tensors
from runtime.predictor import Predictor, load_predictor
from runtime.runtime import Runtime
from serving.pool import Pool
from tests.builders import png
from tests.runtime.stand_ins import predictor_around

SOON_S = 10  # far longer than anything here takes, far shorter than the test's own limit

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(2)
    yield pool
    pool.close()


class Waiting:
    """A runtime that computes once it is let go."""

    def __init__(self, inner: Runtime) -> None:
        self.inputs, self.outputs, self._inner = inner.inputs, inner.outputs, inner
        self.entered, self.let_go = threading.Event(), threading.Event()

    def run(self, batch: Tensors) -> Tensors:
        self.entered.set()
        assert self.let_go.wait(SOON_S)
        return self._inner.run(batch)


@pytest.fixture
def waiting(predictor: Predictor) -> Waiting:
    return Waiting(predictor.runtime)


async def test_inputs_are_prepared_in_their_order(pool: Pool, predictor: Predictor) -> None:
    raws = [png(seed=seed) for seed in range(10)]
    prepared = await pool.prepare(predictor, raws)
    for one, raw in zip(prepared, raws, strict=True):
        assert (one.tensors["image"] == predictor.prepare(raw).tensors["image"]).all()


async def test_a_single_bad_input_is_told_without_an_index(pool: Pool, predictor: Predictor) -> None:
    with pytest.raises(BadInput, match=r"^these 4 bytes are not a picture"):
        await pool.prepare(predictor, [b"junk"])


async def test_of_several_bad_inputs_the_first_is_told_with_its_index(pool: Pool, predictor: Predictor) -> None:
    with pytest.raises(BadInput, match=r"^instance 1: these 4 bytes are not a picture"):
        await pool.prepare(predictor, [png(), b"junk", png(), b"rubbish"])


async def test_the_kind_of_error_stays_what_it_was(pool: Pool, repository: Path) -> None:
    strict = load_predictor(open_bundle(repository / "fake" / "1"), limits=Limits(max_bytes=10))
    with pytest.raises(InputTooLarge, match=r"^instance 0: "):
        await pool.prepare(strict, [png(), png()])


async def test_rows_are_computed_as_the_predictor_computes_them(pool: Pool, predictor: Predictor) -> None:
    rows = [predictor.prepare(png(seed=seed)).tensors for seed in range(6)]
    outputs = await pool.compute(predictor, rows)
    for got, expected in zip(outputs, predictor.run(rows), strict=True):
        assert (got["scores"] == expected["scores"]).all()


async def test_the_event_loop_is_free_while_a_model_computes(
    pool: Pool, predictor: Predictor, waiting: Waiting
) -> None:
    slow = predictor_around(predictor.manifest, waiting)
    computing = asyncio.create_task(pool.compute(slow, [slow.prepare(png()).tensors]))
    while not waiting.entered.is_set():
        await asyncio.sleep(0.001)
    assert not computing.done()
    waiting.let_go.set()
    assert len(await computing) == 1


async def test_as_many_run_at_once_as_there_are_threads(pool: Pool) -> None:
    meeting = threading.Barrier(2, timeout=SOON_S)
    assert sorted(await asyncio.gather(pool.run(meeting.wait), pool.run(meeting.wait))) == [0, 1]


async def test_closing_lets_running_calls_finish(predictor: Predictor, waiting: Waiting) -> None:
    pool, slow = Pool(1), predictor_around(predictor.manifest, waiting)
    computing = asyncio.create_task(pool.compute(slow, [slow.prepare(png()).tensors]))
    while not waiting.entered.is_set():
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(asyncio.to_thread(pool.close))
    waiting.let_go.set()
    await closing
    assert len(await computing) == 1
