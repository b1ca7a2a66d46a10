"""Ask every model one golden sample now and then while it runs: readiness that proves the device.

A driver can lose its context, memory can flip a bit, a thread can hang: the process then looks healthy and answers
nothing, or nonsense. The sample goes through the very queue that traffic uses. A wrong answer or a hang makes the
service not ready, several in a row not live; a right one heals it.

Knows served models and time. Knows nothing of probes or HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from bundle.errors import ModelNotReady, Overloaded
from bundle.golden import Golden
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.call import HIGHEST_PRIORITY, Call
from serving.repository.served import ServedModel
from serving.repository.slots import Proven

TURNS = 3
"""Limits that a queued sample may take while other requests are answered."""
SETTLE_S = 0.02
"""After a pause of the whole process (a suspended machine), what came in meanwhile is seen before it is judged."""
FULL_S = 0.05
"""How soon a full queue is tried again."""

log = logging.getLogger("modelyard.serving")


class GoldenWatch:
    """Asks on and on, and remembers what was wrong."""

    def __init__(self, every_s: float, limit_s: float, failures_to_die: int) -> None:
        self._every_s = every_s
        self._limit_s = limit_s
        self._failures_to_die = failures_to_die

    def not_ready_because(self, answering: Sequence[Proven]) -> str:
        """What is wrong with any of them, or ""."""
        return "; ".join(proven.health.reason for proven in answering if proven.health.num_failures)

    def not_live_because(self, answering: Sequence[Proven]) -> str:
        """What has been wrong with any of them for so long that only a new process can help, or ""."""
        dead = [proven.health for proven in answering if proven.health.num_failures >= self._failures_to_die]
        return "; ".join(f"{health.reason} ({health.num_failures} times in a row)" for health in dead)

    async def run(self, answering: Callable[[], Sequence[Proven]]) -> None:
        """Ask each model once every so often, not all at the same moment; one that hangs holds up no other."""
        looks: set[asyncio.Task[None]] = set()
        try:
            while True:
                there = answering()
                for proven in there:
                    await asyncio.sleep(self._every_s / len(there))
                    look = asyncio.create_task(self.look(proven))
                    looks.add(look)
                    look.add_done_callback(looks.discard)
                if not there:
                    await asyncio.sleep(self._every_s)
        finally:
            for look in looks:
                look.cancel()

    async def look(self, proven: Proven) -> None:
        """Ask one model, and note what came of it."""
        health = proven.health
        if health.looking:
            return
        health.looking = True
        try:
            reason = await self._reason(proven)
        finally:
            health.looking = False
        name = f"model '{proven.served.name}' version {proven.served.version}"
        if reason:
            health.num_failures += 1
            health.reason = f"{name}: {reason}"
            proven.served.metrics.golden_failure()
            log.error("%s", health.reason)
        elif reason is not None and health.num_failures:
            health.num_failures, health.reason = 0, ""
            log.info("%s gives its golden answer again", name)

    async def _reason(self, proven: Proven) -> str | None:
        """What is wrong, "" if nothing is, None if that cannot be said.

        Waiting is no hang while batches finish. But the sample goes before all that wait, so once it is in the queue it
        has its turn soon, and if it never comes back the thread that has it hangs, whatever the others do.
        """
        health, batcher = proven.health, proven.served.batcher
        if health.asking is None:
            health.queued = False
            health.asking = asyncio.create_task(_ask(proven))
        turns = 0
        while turns < TURNS:
            num_batches = batcher.num_batches
            await asyncio.wait({health.asking}, timeout=self._limit_s)
            await asyncio.sleep(SETTLE_S)
            if health.asking.done():
                asked, health.asking = health.asking, None
                return asked.result()
            turns += health.queued
            if batcher.num_batches == num_batches:
                return f"a golden inference is not answered after {self._limit_s:g} s, and no other request is either"
        return f"a golden inference is not answered after {turns * self._limit_s:g} s, though other requests are"


async def _ask(proven: Proven) -> str | None:
    """Ask the golden sample; what is wrong with the answer, "" if nothing is, None if there is no saying."""
    served, golden, health = proven.served, proven.golden, proven.health
    call = Call()
    call.urgency(HIGHEST_PRIORITY)

    def judge(rows: list[Tensors], prepared: list[Prepared]) -> str:
        return _differs(served, golden, rows[0], prepared[0])

    try:
        while True:
            largest = served.batcher.shortage.largest
            try:
                answer = served.batcher.submit(call, [golden.raw], judge)
                health.queued = True
                return await answer
            except Overloaded:
                # A full queue moves on. Where memory is short batches become smaller, and one input alone must fit.
                if health.queued and largest == 1:
                    raise
                health.queued = False
                await asyncio.sleep(FULL_S)
    except ModelNotReady:
        return None  # another version has taken its place
    except Exception as cause:  # noqa: BLE001 - whatever the engine does, this is who wants to know
        return f"a golden inference failed: {type(cause).__name__}: {cause}"


def _differs(served: ServedModel, golden: Golden, row: Tensors, prepared: Prepared) -> str:
    task = served.predictor.task
    atol = served.choice.atol
    for name, error in task.differences(golden.outputs, row).items():
        if not error <= 2 * atol:  # each may be off by one, and not a number is not less than anything
            return (
                f"a golden inference gives '{name}' off by {error:.3g} from when it was loaded (limit {2 * atol:.3g})"
            )
    answer = served.predictor.decode(row, prepared, task.golden_options())
    difference = task.agree(golden.answer, answer, atol)
    return f"a golden inference gives another answer than the checkpoint's: {difference}" if difference else ""
