"""The queue of a model: who shares a batch, who is refused, who is dropped, and that everybody gets their own row."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import BadInput, ClientGone, DeadlineExceeded, ModelNotReady, Overloaded, RuntimeFailed
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.call import Call, now
from tests.serving.doubling import SOON_S, Yard

HERE = pytest.mark.parametrize("here", [False, True], ids=["on lanes", "here"])
pytestmark = pytest.mark.anyio


Make = Callable[..., Yard]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    yards: list[Yard] = []

    def build(lanes: int = 1, **policy: object) -> Yard:
        yards.append(Yard(lanes, **policy))
        return yards[-1]

    yield build
    for yard in yards:
        if yard.model.gate is not None:
            yard.model.gate.set()
        await asyncio.wait_for(yard.batcher.drain(), SOON_S)
        yard.lanes.close()


@HERE
async def test_every_caller_gets_its_own_row(make: Make, here: bool) -> None:
    yard = make(lanes=2, here=here)
    answers = await asyncio.gather(*(yard.ask(str(i % 9).encode()) for i in range(200)))
    assert answers == [[2.0 * (i % 9)] for i in range(200)]


@HERE
async def test_several_inputs_of_one_request_come_back_in_order(make: Make, here: bool) -> None:
    yard = make(lanes=2, here=here, max_batch_size=2)
    assert await yard.ask(b"1", b"22", b"3", b"44", b"5") == [2.0, 4.0, 6.0, 8.0, 10.0]


async def test_a_batch_is_what_queued_while_the_one_before_it_ran(make: Make) -> None:
    yard = make()
    holding = await yard.blocked()
    waiting = [yard.ask(b"1"), yard.ask(b"2"), yard.ask(b"3")]
    yard.let_go()
    assert await holding == [0.0]
    assert await asyncio.gather(*waiting) == [[2.0], [4.0], [6.0]]
    assert yard.model.batches == [[0.0], [1.0, 2.0, 3.0]]
    assert yard.told.sizes == [1, 3]


async def test_requests_of_one_turn_of_the_loop_share_a_batch_here(make: Make) -> None:
    yard = make(here=True)
    await asyncio.gather(yard.ask(b"1"), yard.ask(b"2"), yard.ask(b"3"))
    assert yard.model.batches == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("largest", [{"max_batch_size": 2}, {"preferred_batch_size": 2}])
async def test_a_batch_is_never_larger_than_allowed(make: Make, largest: dict[str, int]) -> None:
    yard = make(**largest)
    holding = await yard.blocked()
    waiting = [yard.ask(b"1") for _ in range(5)]
    yard.let_go()
    await asyncio.gather(holding, *waiting)
    assert sorted(len(batch) for batch in yard.model.batches) == [1, 1, 2, 2]


@HERE
async def test_rows_of_unlike_shape_never_share_a_batch(make: Make, here: bool) -> None:
    yard = make(here=here)
    answers = await asyncio.gather(*(yard.ask(b"1" * (1 + i % 3)) for i in range(30)))
    assert answers == [[2.0]] * 30


async def test_waiting_rows_are_shared_among_the_lanes_that_are_free(make: Make) -> None:
    yard = make(lanes=2, instances=2)
    yard.model.gate = threading.Event()
    asked = [yard.ask(b"1", b"2", b"3", b"4")]
    while len(yard.model.alone) < 2:
        await asyncio.sleep(0.001)
    yard.let_go()
    await asyncio.gather(*asked)
    assert sorted(map(len, yard.model.batches)) == [2, 2]


async def test_no_more_batches_run_at_once_than_instances(make: Make) -> None:
    yard = make(lanes=4, instances=1)
    holding = await yard.blocked()
    waiting = yard.ask(b"1")
    await asyncio.sleep(0.05)
    assert len(yard.model.alone) == 1
    yard.let_go()
    await asyncio.gather(holding, waiting)


async def test_only_a_batch_without_company_is_told_that_it_is_alone(make: Make) -> None:
    yard = make()
    await yard.ask(b"1")
    holding = await yard.blocked()
    waiting = [yard.ask(b"1"), yard.ask(b"22")]
    yard.let_go()
    await asyncio.gather(holding, *waiting)
    assert yard.model.alone == [True, True, False, True]


@HERE
async def test_with_a_queue_delay_a_row_waits_for_company(make: Make, here: bool) -> None:
    yard = make(here=here, max_queue_delay_s=0.2)
    first = yard.ask(b"1")
    await asyncio.sleep(0.02)
    await asyncio.gather(first, yard.ask(b"2"))
    assert yard.model.batches == [[1.0, 2.0]]


@HERE
async def test_a_full_batch_does_not_wait_for_its_delay(make: Make, here: bool) -> None:
    yard = make(here=here, max_queue_delay_s=60.0, max_batch_size=2)
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(yard.ask(b"1"), yard.ask(b"2"))


async def test_a_request_that_does_not_fit_is_refused_at_once_with_the_wait(make: Make) -> None:
    yard = make(max_queue=2)
    holding = await yard.blocked()
    waiting = [yard.ask(b"1"), yard.ask(b"2")]
    with pytest.raises(Overloaded, match=r"queue holds 2 inputs and 1 more do not fit \(max_queue is 2\)") as refused:
        yard.ask(b"3")
    assert refused.value.retry_after_s >= 0
    yard.let_go()
    await asyncio.gather(holding, *waiting)
    assert yard.told.events == ["shed"]
    assert await yard.ask(b"4") == [8.0]


async def test_a_request_larger_than_the_queue_is_answered_where_nothing_waits(make: Make) -> None:
    yard = make(max_queue=2)
    assert await yard.ask(b"1", b"2", b"3") == [2.0, 4.0, 6.0]


async def test_a_deadline_that_passes_in_the_queue_is_told_then_and_costs_no_compute(make: Make) -> None:
    yard = make()
    holding = await yard.blocked()
    call = Call()
    call.answer_within(0.05)
    with pytest.raises(DeadlineExceeded, match="the 50 ms that the request may take were over"):
        await asyncio.wait_for(yard.ask(b"5", call=call), SOON_S)
    assert not yard.model.gate.is_set()  # type: ignore[union-attr] # it was told while the engine was still held
    yard.let_go()
    await holding
    assert [5.0] not in yard.model.batches
    assert yard.told.events == ["late"]


@HERE
async def test_a_deadline_that_has_passed_already_costs_nothing(make: Make, here: bool) -> None:
    yard = make(here=here)
    call = Call()
    call.deadline = now() - 1
    with pytest.raises(DeadlineExceeded):
        await yard.ask(b"5", call=call)
    assert yard.model.batches == []


async def test_a_client_that_has_gone_is_dropped_before_compute(make: Make) -> None:
    yard = make()
    holding = await yard.blocked()
    call = Call()
    gone, other = yard.ask(b"5", call=call), yard.ask(b"6")
    call.gone = True
    yard.let_go()
    with pytest.raises(ClientGone):
        await gone
    assert await other == [12.0]
    await holding
    assert yard.model.batches == [[0.0], [6.0]]
    assert yard.told.events == ["gone"]


async def test_a_caller_that_cancels_is_dropped_before_compute(make: Make) -> None:
    yard = make()
    holding = await yard.blocked()
    gone = yard.ask(b"5")
    gone.cancel()
    yard.let_go()
    await holding
    await asyncio.wait_for(yard.batcher.drain(), SOON_S)
    assert yard.model.batches == [[0.0]]
    assert yard.told.events == ["gone"]


async def test_the_more_urgent_goes_first_and_equals_in_order(make: Make) -> None:
    yard = make(max_batch_size=1)
    holding = await yard.blocked()
    waiting = []
    for raw, priority in ((b"1", 3), (b"2", 0), (b"3", 1), (b"4", 0)):
        call = Call()
        call.urgency(priority)
        waiting.append(yard.ask(raw, call=call))
    yard.let_go()
    await asyncio.gather(holding, *waiting)
    assert yard.model.batches == [[0.0], [3.0], [2.0], [4.0], [1.0]]


@HERE
async def test_a_row_that_breaks_the_engine_fails_alone(make: Make, here: bool) -> None:
    yard = make(here=here)
    bad, *good = await asyncio.gather(*(yard.ask(raw) for raw in (b"9", b"1", b"2")), return_exceptions=True)
    assert isinstance(bad, RuntimeFailed)
    assert good == [[2.0], [4.0]]


@pytest.mark.parametrize("quick", [True, False])
async def test_an_input_that_cannot_be_read_is_named_among_several(make: Make, quick: bool) -> None:
    yard = make()
    yard.model.quick = quick
    with pytest.raises(BadInput, match=r"^instance 1: b'x' is no number"):
        await yard.ask(b"1", b"x", b"3")
    with pytest.raises(BadInput, match=r"^b'x' is no number"):
        await yard.ask(b"x")
    assert await yard.ask(b"4") == [8.0]
    assert yard.batcher.queue_depth == yard.batcher.in_flight == 0


async def test_inputs_that_are_not_quick_are_prepared_on_lanes_even_for_a_small_model(make: Make) -> None:
    yard = make(here=True)
    yard.model.quick = False
    assert await asyncio.gather(yard.ask(b"1"), yard.ask(b"2")) == [[2.0], [4.0]]
    assert sorted(yard.model.prepared) == [b"1", b"2"]


async def test_preparing_goes_first_so_that_batches_are_fuller(make: Make) -> None:
    yard = make()
    holding = await yard.blocked()
    yard.model.quick = False
    waiting = [yard.ask(b"1") for _ in range(4)]
    yard.let_go()
    await asyncio.gather(holding, *waiting)
    assert yard.model.batches == [[0.0], [1.0] * 4]


@HERE
async def test_an_answer_that_cannot_be_made_is_its_callers_alone(make: Make, here: bool) -> None:
    yard = make(here=here)

    def refuse(_: list[Tensors], __: list[Prepared]) -> list[float]:
        raise BadInput("not like this")

    bad = yard.batcher.submit(Call(), [b"1"], refuse)
    good = yard.ask(b"2")
    with pytest.raises(BadInput, match="not like this"):
        await bad
    assert await good == [4.0]


@HERE
async def test_a_request_knows_where_its_time_went(make: Make, here: bool) -> None:
    yard = make(here=here)
    call = Call()
    await yard.ask(b"1", call=call)
    assert call.phases.keys() == {"prepare", "queue", "compute", "decode"}
    assert 0 <= sum(call.phases.values()) <= now() - call.arrived


async def test_draining_answers_what_was_accepted_and_takes_nothing_new(make: Make) -> None:
    yard = make()
    holding = await yard.blocked()
    waiting = yard.ask(b"1")
    draining = asyncio.create_task(yard.batcher.drain())
    await asyncio.sleep(0.01)
    assert not draining.done()
    with pytest.raises(ModelNotReady, match="taken away"):
        yard.ask(b"2")
    yard.let_go()
    await asyncio.wait_for(draining, SOON_S)
    assert (await holding, await waiting) == ([0.0], [2.0])


async def test_the_predicted_wait_grows_with_the_queue_and_with_what_rows_cost(make: Make) -> None:
    yard = make()
    assert yard.batcher.predicted_wait_s() == 0
    for _ in range(3):
        holding = await yard.blocked()
        await asyncio.sleep(0.02)
        yard.let_go()
        await holding
    holding = await yard.blocked()
    waiting = [yard.ask(b"1")]
    one = yard.batcher.predicted_wait_s()
    waiting += [yard.ask(b"1")]
    assert 0 < one < yard.batcher.predicted_wait_s()
    yard.let_go()
    await asyncio.gather(holding, *waiting)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.booleans()), max_size=30), st.integers(1, 4))
def test_whatever_comes_everything_is_answered_once_and_right(
    requests: list[tuple[int, int, bool]], lanes: int
) -> None:
    async def run() -> None:
        yard = Yard(lanes, max_batch_size=3, instances=2)
        calls = []
        for num_inputs, priority, gone in requests:
            call = Call()
            call.urgency(priority)
            call.gone = gone
            raws = [str(1 + i).encode() * (1 + i % 2) for i in range(num_inputs)]
            calls.append((yard.ask(*raws, call=call), num_inputs, gone))
        for future, num_inputs, gone in calls:
            if gone:
                with pytest.raises(ClientGone):
                    await asyncio.wait_for(future, SOON_S)
            else:
                assert await asyncio.wait_for(future, SOON_S) == [2.0 * (1 + i) for i in range(num_inputs)]
        assert yard.batcher.queue_depth == yard.batcher.in_flight == 0
        assert all(len(batch) <= 3 for batch in yard.model.batches)
        yard.lanes.close()

    asyncio.run(run())


async def test_a_late_request_of_which_a_lane_has_something_in_hand_is_told_when_that_is_done(make: Make) -> None:
    yard = make(max_batch_size=1)
    yard.model.gate = threading.Event()
    call = Call()
    call.answer_within(0.05)
    asked = yard.ask(b"1", b"2", call=call)
    assert await asyncio.to_thread(yard.model.entered.wait, SOON_S)
    await asyncio.sleep(0.2)
    assert not asked.done()
    yard.let_go()
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(asked, SOON_S)
    assert yard.batcher.queue_depth == yard.batcher.in_flight == 0


async def test_batches_of_one_run_where_they_were_prepared(make: Make) -> None:
    yard = make(lanes=2, instances=2, max_batch_size=1)
    yard.model.quick = False
    answers = await asyncio.gather(*(yard.ask(str(i % 9).encode()) for i in range(100)))
    assert answers == [[2.0 * (i % 9)] for i in range(100)]
    assert yard.batcher.queue_depth == yard.batcher.in_flight == 0
