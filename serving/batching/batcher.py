"""Merge waiting inputs of one model in time, and give each caller its own row.

A batch is what queued while earlier ones ran: nothing waits for company unless `max_queue_delay_ms` says so. Two ways
lead to an answer, and both keep the same promises (bounded queue, deadlines, priority, rows of unlike shape never mix,
a bad row never fails its neighbours, nothing is computed for a client that has gone):

- *lanes*: inputs are prepared and batches run on the threads of `serving/batching/lanes.py`;
- *here*: where input and model are so small that handing them to a thread costs more than doing them, they are done on
  the event loop, all requests of one turn of the loop in one batch.

Knows rows, time and lanes. Knows nothing of HTTP or of what rows mean.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeVar

from bundle.errors import BadInput, ClientGone, DeadlineExceeded, ModelNotReady, Overloaded
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.call import Call, now
from serving.batching.deadlines import Deadlines
from serving.batching.gathering import Gathering
from serving.batching.lanes import Lanes, Unit
from serving.batching.policy import Compute, Observer, Policy, run_each
from serving.batching.shortage import Shortage
from serving.batching.waiting import Job, Waiting

R = TypeVar("R")
Finish = Callable[[list[Tensors], list[Prepared]], R]
"""Rows of outputs and what was prepared -> the answer of a request."""

Report = tuple[list[Job[Any]], int, float, int]
"""Requests that are whole now, rows of the batch, its seconds, and its rows where memory did not hold them."""

COST_MEMORY = 0.05  # how much the newest measurement moves the running mean of a row's cost

log = logging.getLogger("modelyard.serving")


class Batcher:
    """The queue of one model version. `submit` belongs to the event loop; the lanes call `ready` and `take`."""

    def __init__(self, what: str, compute: Compute, policy: Policy, lanes: Lanes, observer: Observer) -> None:
        self.service_s = 0.0
        self.queue_limit = policy.max_queue
        self.in_flight = 0
        """Requests accepted and not yet answered."""
        self.policy = policy
        self.shortage = Shortage(what, policy.largest)
        self.num_batches = 0
        """Batches that came back; while it grows, waiting is no hang."""
        self._what = what
        self._compute = compute
        self._lanes = lanes
        self._observer = observer
        self._waiting = Waiting(policy.largest, policy.max_queue_delay_s)
        self._order = count()
        self._running = 0
        self._row_cost_s = 0.0
        self._gathering = Gathering(policy.largest, policy.max_queue_delay_s, self._run_here)
        self._deadlines = Deadlines(self._answer_late)
        self._idle: asyncio.Event | None = None
        self._closed = False
        lanes.add(self)

    @property
    def queue_depth(self) -> int:
        """Inputs that wait."""
        return self._waiting.number + self._gathering.number

    def predicted_wait_s(self) -> float:
        """How long an input that comes now would wait, by what rows cost lately."""
        return self.queue_depth * self._row_cost_s * self._lanes.num_busy_sources() / self.policy.instances

    def submit(self, call: Call, inputs: Sequence[bytes | Prepared], finish: Finish[R]) -> asyncio.Future[R]:
        """Queue one request's inputs; the future gives what `finish` makes of its rows.

        Raises:
            Overloaded: the queue is full. BadInput: an input that is prepared at once cannot be read.
            ModelNotReady: the model is being taken away. The future fails with these (but Overloaded) too, and with
            DeadlineExceeded, ClientGone or RuntimeFailed.
        """
        if self._closed:
            raise ModelNotReady(f"{self._what} is being taken away")
        if self.queue_depth + len(inputs) > self.policy.max_queue and self.queue_depth:
            self._refuse(len(inputs))
        job = Job(call, inputs, finish, asyncio.get_running_loop(), next(self._order))
        if self.policy.here:
            self._submit_here(job)
        else:
            self._submit_to_lanes(job)
        return job.future

    def _refuse(self, num_inputs: int) -> None:
        self._observer.shed()
        wait_s = self.predicted_wait_s()
        raise Overloaded(
            f"{self._what}: its queue holds {self.queue_depth} inputs and {num_inputs} more do not fit (max_queue is "
            f"{self.policy.max_queue}); the wait would be about {wait_s:.2f} s; try again then",
            retry_after_s=wait_s,
        )

    # Here: on the event loop.

    def _submit_here(self, job: Job[R]) -> None:
        for i, one in enumerate(job.inputs):
            if isinstance(one, bytes) and not self._compute.is_quick(one):
                self._submit_to_lanes(job)
                return
            self._prepare(job, i)
        self.in_flight += 1
        if job.call.alone and len(job.inputs) == 1 and not (self._gathering.number or self.policy.max_queue_delay_s):
            self._run_here([(job, 0)])  # nobody could come in this turn of the loop
        else:
            self._gathering.add(job)

    def _run_here(self, entries: list[tuple[Job[Any], int]]) -> None:
        wanted = [entry for entry in entries if self._still_wanted(entry[0])]
        if wanted:
            self._deliver(*self._run(wanted, alone=False))

    # Lanes: on other threads.

    def _submit_to_lanes(self, job: Job[R]) -> None:
        for i, one in enumerate(job.inputs):
            if not isinstance(one, bytes) or self._compute.is_quick(one):
                self._prepare(job, i)
        self.in_flight += 1
        self._deadlines.add(job.call.deadline, job.loop)
        with self._lanes.lock:
            if not self._waiting.number:
                self._lanes.starts(self)
            for i in range(len(job.inputs)):
                self._waiting.add(job, i)
                self._lanes.wake()
        if self.policy.max_queue_delay_s:
            job.loop.call_later(self.policy.max_queue_delay_s, self._wake)

    def _wake(self) -> None:
        with self._lanes.lock:
            self._lanes.wake()

    def _answer_late(self) -> float:
        """Answer those whose time is up: what has not begun will not begin. When to look again."""
        with self._lanes.lock:
            late = self._waiting.late(now())
            earliest = self._waiting.earliest_deadline()
        for job in late:
            self._drop(job, self._too_late(job))
        return earliest

    def ready(self) -> bool:
        """Whether a lane would find work here."""
        return self._waiting.has_raw() or (self._running < self.policy.instances and self._waiting.has_rows())

    def take(self, free_lanes: int, alone: bool) -> Unit:
        """Prepare an input, or run a batch: preparing goes first where that makes fuller batches."""
        can_run = self._running < self.policy.instances and self._waiting.has_rows()
        if self._waiting.has_raw() and not (can_run and self._waiting.fills_a_batch()):
            job, i = self._waiting.next_raw()
            job.active += 1
            return lambda: self._prepare_on_lane(job, i)
        parts = max(1, self.policy.num_gpus - self._running) if self.policy.num_gpus else free_lanes
        entries = self._waiting.next_batch(-(-self._waiting.num_rows // parts))
        for job, _ in entries:
            job.active += 1
        self._running += 1
        alone = alone and not self._waiting.number
        return lambda: self._run_on_lane(entries, alone)

    def _prepare_on_lane(self, job: Job[Any], i: int) -> None:
        dropped = self._unwanted(job)
        if dropped is None:
            try:
                self._prepare(job, i)
            except Exception as cause:  # noqa: BLE001 - whatever it is, the caller gets to know
                dropped = cause
        with self._lanes.lock:
            goes_on = dropped is None and self._goes_on()
            if goes_on:
                self._running += 1
            else:
                job.active -= 1
                if dropped is None:
                    self._waiting.add(job, i)
                else:
                    self._waiting.forget(job)
            alone = goes_on and self._lanes.has_one_at_work() and not self._waiting.number
        if dropped is not None:
            job.loop.call_soon_threadsafe(self._drop, job, dropped)
        elif goes_on:
            self._run_on_lane([(job, i)], alone)

    def _goes_on(self) -> bool:
        """Whether a row that was just prepared is run at once: batches are of one, and none is before it."""
        return self.shortage.largest == 1 and self._running < self.policy.instances and not self._waiting.num_rows

    def _run_on_lane(self, entries: list[tuple[Job[Any], int]], alone: bool) -> None:
        wanted = []
        unwanted: dict[Job[Any], Exception] = {}
        for entry in entries:
            reason = self._unwanted(entry[0])
            if reason is None:
                wanted.append(entry)
            else:
                unwanted[entry[0]] = reason
        try:
            report = self._run(wanted, alone) if wanted else None
        finally:
            with self._lanes.lock:
                self._running -= 1
                for job, _ in entries:
                    job.active -= 1
                for job in unwanted:
                    self._waiting.forget(job)
        loop = entries[0][0].loop
        for job, reason in unwanted.items():
            loop.call_soon_threadsafe(self._drop, job, reason)
        if report is not None:
            loop.call_soon_threadsafe(self._deliver, *report)

    # Both.

    def _prepare(self, job: Job[Any], i: int) -> None:
        one = job.inputs[i]
        if not isinstance(one, bytes):
            job.prepared[i] = one
            return
        start = now()
        try:
            job.prepared[i] = self._compute.prepare(one)
        except BadInput as cause:
            job.call.phases["prepare"] = job.prepare_s + now() - start
            raise (type(cause)(f"instance {i}: {cause}") if len(job.inputs) > 1 else cause) from None
        job.prepare_s += now() - start

    def _run(self, entries: list[tuple[Job[Any], int]], alone: bool) -> Report:
        """Compute a batch and finish the requests that are whole now; on any thread."""
        start = now()
        rows = [job.row(i) for job, i in entries]
        outputs, too_large = run_each(self._compute, rows, alone)
        computed = now()
        done = []
        for (job, i), output in zip(entries, outputs, strict=True):
            if job.put(i, output, start, computed):
                job.conclude()
                done.append(job)
        return done, len(rows), computed - start, too_large

    def _deliver(self, done: list[Job[Any]], size: int, compute_s: float, too_large: int) -> None:
        """Give answers to their callers; on the event loop."""
        self.num_batches += 1
        if too_large:
            self._observer.out_of_memory()
            self.lower(too_large)
        self._observer.batch(size, compute_s)
        self._row_cost_s += COST_MEMORY * (compute_s / size - self._row_cost_s)
        for job in done:
            if job.closed:
                continue
            self._release(job)
            job.close(job.error)

    def lower(self, too_large: int) -> None:
        """Form smaller batches than this from now on: the device's memory does not hold it."""
        largest = self.shortage.met(too_large)
        with self._lanes.lock:
            self._waiting.largest = largest
        self._gathering.largest = largest

    def _release(self, job: Job[Any]) -> None:
        self.in_flight -= 1
        if not self.in_flight and self._idle is not None:
            self._idle.set()

    def _drop(self, job: Job[Any], reason: Exception) -> None:
        """Answer a request with an error, once; on the event loop."""
        if job.closed:
            return
        if isinstance(reason, DeadlineExceeded):
            self._observer.deadline_drop()
        elif isinstance(reason, ClientGone):
            self._observer.gone_drop()
        self._release(job)
        job.close(reason)

    def _still_wanted(self, job: Job[Any]) -> bool:
        reason = self._unwanted(job)
        if reason is not None:
            self._drop(job, reason)
        return reason is None

    def _unwanted(self, job: Job[Any]) -> Exception | None:
        """Why computing a request would be waste."""
        if job.call.gone or job.future.cancelled():
            return ClientGone("the client went away")
        return self._too_late(job) if now() > job.call.deadline else None

    def _too_late(self, job: Job[Any]) -> DeadlineExceeded:
        allowed_ms = (job.call.deadline - job.call.arrived) * 1e3
        return DeadlineExceeded(
            f"{self._what}: the {allowed_ms:.0f} ms that the request may take were over before it was computed; "
            f"{self.queue_depth} inputs wait"
        )

    async def drain(self) -> None:
        """Take nothing new, and wait until everything accepted is answered."""
        self._closed = True
        if self.in_flight:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def close(self) -> None:
        """Leave the lanes; drain first. The engine goes with the last reference, not when a collector comes by."""
        self._lanes.remove(self)
        self._deadlines.close()
        self._gathering.close()
