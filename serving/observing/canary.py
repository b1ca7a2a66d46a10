"""Compare a version with the one that answers, on a share of live traffic, without anybody noticing.

The live answer is made first and never waits: its raw inputs are then asked of the canary too, one request at a time,
at the lowest priority, and not at all while anything queues. Both outputs are read with the task's `golden_options` and
judged by its `agree`, as export judges an artefact. Reasons are kept, inputs never.

Knows two served models and their task. Knows nothing of how versions are chosen.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from bundle.errors import DeadlineExceeded, ModelNotReady, Overloaded
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.call import Call
from serving.repository.served import ServedModel

R = TypeVar("R")
Finish = Callable[[list[Tensors], list[Prepared]], R]
Outcome = Literal["agreed", "disagreed", "failed", "dropped"]

NUM_SAMPLES = 20
"""Latest disagreements that are kept for people to read."""
LOWEST_PRIORITY = 1_000_000
LIMIT_S = 10.0
"""A comparison that takes longer has met a busy hour, and is dropped."""


class Shadow:
    """One version that answers, another that is compared with it. Belongs to the event loop, but for `tap`'s finish."""

    def __init__(self, live: ServedModel, canary: ServedModel, share: float) -> None:
        self._live, self._canary = live, canary
        self._share = share
        self._comparing: asyncio.Task[None] | None = None
        self._counts: dict[Outcome, int] = {"agreed": 0, "disagreed": 0, "failed": 0, "dropped": 0}
        self._samples: deque[dict[str, object]] = deque(maxlen=NUM_SAMPLES)
        self._options = canary.predictor.task.golden_options()
        limits = [served.choice.atol for served in self.pair]
        self._atol = max(limits)
        self._same_rows = live.manifest.preprocess == canary.manifest.preprocess

    @property
    def pair(self) -> tuple[ServedModel, ServedModel]:
        """Who answers, and who is compared."""
        return self._live, self._canary

    def tap(self, call: Call, inputs: Sequence[bytes | Prepared], finish: Finish[R]) -> Finish[R]:
        """The same `finish`, which for a share of the requests also offers their inputs to the canary."""
        if random.random() >= self._share:  # noqa: S311 - a sample of traffic, no secret
            return finish
        if not self._same_rows and not all(isinstance(one, bytes) for one in inputs):
            self._count("dropped")  # rows that were prepared for one version are no input of the other
            return finish
        loop = asyncio.get_running_loop()

        def tapped(rows: list[Tensors], prepared: list[Prepared]) -> R:
            answer = finish(rows, prepared)
            with contextlib.suppress(RuntimeError):  # the loop has ended; the answer counts, the comparison does not
                loop.call_soon_threadsafe(self._offer, call.request_id, inputs, rows, prepared)
            return answer

        return tapped

    def report(self) -> dict[str, object]:
        """Counts and the latest reasons, as JSON values."""
        return {
            "live": self._live.version,
            "canary": self._canary.version,
            "share": self._share,
            "atol": self._atol,
            **dict[str, object](self._counts.items()),
            "samples": list(self._samples),
        }

    def _offer(
        self, request_id: str, inputs: Sequence[bytes | Prepared], rows: list[Tensors], prepared: list[Prepared]
    ) -> None:
        busy = self._comparing is not None or any(served.batcher.queue_depth for served in self.pair)
        if busy or self._live.shadow is not self:
            self._count("dropped")
            return
        self._comparing = asyncio.create_task(self._compare(request_id, inputs, rows, prepared))
        self._comparing.add_done_callback(self._free)

    def _free(self, _: asyncio.Task[None]) -> None:
        self._comparing = None

    async def _compare(
        self, request_id: str, inputs: Sequence[bytes | Prepared], rows: list[Tensors], prepared: list[Prepared]
    ) -> None:
        call = Call(request_id)
        call.urgency(LOWEST_PRIORITY)
        call.answer_within(LIMIT_S)

        def judge(canary_rows: list[Tensors], canary_prepared: list[Prepared]) -> str:
            pairs = zip(rows, prepared, canary_rows, canary_prepared, strict=True)
            differences = (self._differs(*pair) for pair in pairs)
            return next((difference for difference in differences if difference), "")

        try:
            difference = await self._canary.batcher.submit(call, inputs, judge)
        except (Overloaded, DeadlineExceeded, ModelNotReady):
            self._count("dropped")
        except Exception as cause:  # noqa: BLE001 - however the canary fails, nobody asked it for an answer
            self._note("failed", request_id, f"{type(cause).__name__}: {cause}")
        else:
            if difference:
                self._note("disagreed", request_id, difference)
            else:
                self._count("agreed")

    def _differs(self, row: Tensors, prepared: Prepared, canary_row: Tensors, canary_prepared: Prepared) -> str | None:
        expected = self._live.predictor.decode(row, prepared, self._options)
        got = self._canary.predictor.decode(canary_row, canary_prepared, self._options)
        difference: str | None = self._canary.predictor.task.agree(expected, got, self._atol)
        return difference

    def _note(self, outcome: Outcome, request_id: str, reason: str) -> None:
        self._count(outcome)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._samples.append({"time": at, "outcome": outcome, "request_id": request_id, "reason": reason})

    def _count(self, outcome: Outcome) -> None:
        self._counts[outcome] += 1
        if outcome == "failed":
            self._canary.metrics.canary_failure()
        elif outcome != "dropped":
            self._canary.metrics.canary(outcome == "agreed")


def report_of(shadow: Shadow | None) -> dict[str, Any]:
    """What `GET /v1/models/{name}/canary` says."""
    return {"comparing": False} if shadow is None else {"comparing": True, **shadow.report()}
