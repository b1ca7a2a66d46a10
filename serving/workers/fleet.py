"""One worker among others on the same port: what it tells them of itself, what it makes of what they tell.

Ready means that all are ready; a change of what is served is made by all, and its answer waits for all. Knows the
shared folder and repositories. Knows nothing of HTTP, nor of how workers are started.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from bundle import errors
from bundle.errors import ModelNotReady, ModelyardError
from serving.workers.shared import Action, Command, ModelReport, Outcome, Place, Report, Shared

log = logging.getLogger("modelyard.serving")

BEAT_S = 0.25
LOOK_S = 0.05
"""How often a worker looks for commands, and for what became of its own."""
HUNG_S = 5.0
"""A worker that has said nothing for so long is not ready: it has missed twenty beats."""
COMMAND_S = 300.0
"""How long the answer to a change may wait for all workers; loading proves and warms the model in each."""
WORST_FIRST = ("refused", "unloaded", "loading", "draining", "ready")


class State(Protocol):
    """One model version in this worker."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> int:
        """The version's number."""

    @property
    def state(self) -> str:
        """One of WORST_FIRST."""

    @property
    def reason(self) -> str:
        """Why, or ""."""


class Repository(Protocol):
    """What a worker needs of its own models."""

    @property
    def models(self) -> Sequence[State]:
        """Every version it knows."""

    def not_ready_because(self) -> str:
        """Why it should get no traffic, or ""."""

    def not_live_because(self) -> str:
        """Why it should be started again, or ""."""

    async def load(self, name: str) -> None:
        """Take a model's newest version."""

    async def unload(self, name: str) -> None:
        """Let a model go."""

    async def rollback(self, name: str) -> int:
        """Serve the version from before."""

    async def promote(self, name: str) -> int:
        """Let a canary answer."""


class Fleet:
    """All workers, as one of them sees them; it stands where the repository stands in a service of one process."""

    def __init__(self, place: Place, repository: Repository, on_all_ready: Callable[[], None]) -> None:
        """`on_all_ready` is called once, in whichever worker sees first that all are ready."""
        self._place = place
        self._shared = Shared(Path(place.folder), place.number)
        self._repository = repository
        self._on_all_ready = on_all_ready
        self._done = 0
        self._caught_up = False
        self._announced = False
        self._problem = ""
        """Why the last report could not be made."""
        self._tasks: list[asyncio.Task[None]] = []

    # Life

    async def start(self, loaded: Awaitable[object]) -> None:
        """Take this worker's place, and report from now on; `loaded` ends when every model is ready or refused.

        A worker that takes a dead one's place comes back from here when it is ready, so that it does not listen
        before: the others answer meanwhile.
        """
        self._lock = self._shared.claim(self._place.index)
        self._tasks.append(asyncio.create_task(self._beat()))
        coming_up = asyncio.create_task(self._come_up(loaded))
        self._tasks.append(coming_up)
        if self._place.generation:
            await asyncio.shield(coming_up)

    async def stop(self) -> None:
        """Report no more; this worker is leaving."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        with suppress(OSError):  # then they take its silence for its leave
            self._shared.report(self._place.index, self._report(leaving=True))

    # Health

    def not_ready_because(self) -> str:
        """Why the service should get no traffic, or "": every worker is ready."""
        return "; ".join(filter(None, map(self._why_not_ready, range(self._place.number))))

    def not_live_because(self) -> str:
        """Why the service should be started again, or "". A dead worker is no reason: it is started again alone."""
        return "; ".join(filter(None, map(self._why_not_live, range(self._place.number))))

    @property
    def models(self) -> Sequence[State]:
        """Every version that any worker knows, in the worst state that it has in any."""
        known = [(index, self._models_of(index)) for index in range(self._place.number)]
        keys = sorted({key for _, models in known for key in models})
        return [self._worst(key, known) for key in keys]

    # Changes

    async def load(self, name: str) -> None:
        """Take a model's newest version in every worker.

        Raises:
            ModelyardError: what the first worker that failed says; the others have done it.
        """
        await self._everywhere("load", name)

    async def unload(self, name: str) -> None:
        """Let a model go in every worker; raises as `load`."""
        await self._everywhere("unload", name)

    async def rollback(self, name: str) -> int:
        """Serve the version from before in every worker; its number. Raises as `load`."""
        return await self._everywhere("rollback", name) or 0

    async def promote(self, name: str) -> int:
        """Let a model's canary answer in every worker; its number. Raises as `load`."""
        return await self._everywhere("promote", name) or 0

    # What it says

    async def _beat(self) -> None:
        while True:
            self._tell_or_log()
            if os.getppid() != self._place.supervisor:
                log.error("the supervisor has gone; this worker finishes its requests and ends")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if not self._announced and self._caught_up and not self.not_ready_because():
                self._announced = True
                if self._shared.is_first("announced"):
                    self._on_all_ready()
            await asyncio.sleep(BEAT_S)

    def _tell_or_log(self) -> None:
        """A report that cannot be made is made at the next beat, or the supervisor takes this worker for hung."""
        try:
            self._tell()
        except OSError as cause:
            if str(cause) != self._problem:
                log.error("this worker cannot tell the others how it is: %s; it tries again", cause)
            self._problem = str(cause)
        else:
            self._problem = ""

    def _tell(self) -> None:
        self._shared.report(self._place.index, self._report())

    def _report(self, leaving: bool = False) -> Report:
        not_ready = "it is leaving" if leaving else self._own_not_ready()
        not_live = self._repository.not_live_because()
        return Report(os.getpid(), time.monotonic(), not_ready, not_live, self._own_models(), self._done)

    def _own_models(self) -> list[ModelReport]:
        return [ModelReport(one.name, one.version, one.state, one.reason) for one in self._repository.models]

    def _own_not_ready(self) -> str:
        reason = self._repository.not_ready_because()
        return reason or ("" if self._caught_up else "it does what it missed while it was not there")

    # What it hears

    def _why_not_ready(self, index: int) -> str:
        if index == self._place.index:
            return self._own_not_ready()
        report = self._shared.reported(index)
        if report is None or not self._shared.is_alive(index):
            return self._named(index, "it does not run; it is being started")
        silent_s = time.monotonic() - report.at
        if silent_s > HUNG_S:
            return self._named(index, f"it hangs: it has said nothing for {silent_s:.0f} s")
        return self._named(index, report.not_ready) if report.not_ready else ""

    def _why_not_live(self, index: int) -> str:
        if index == self._place.index:
            return self._repository.not_live_because()
        report = self._shared.reported(index)
        if report is None or not report.not_live or not self._shared.is_alive(index):
            return ""
        return self._named(index, report.not_live)

    def _named(self, index: int, reason: str) -> str:
        return f"worker {index + 1} of {self._place.number}: {reason}"

    def _models_of(self, index: int) -> dict[tuple[str, int], ModelReport]:
        if index == self._place.index:
            models = self._own_models()
        elif self._shared.is_alive(index) and (report := self._shared.reported(index)):
            models = report.models
        else:
            models = []
        return {(model.name, model.version): model for model in models}

    def _worst(self, key: tuple[str, int], known: list[tuple[int, dict[tuple[str, int], ModelReport]]]) -> ModelReport:
        unknown = ModelReport(*key, "loading", "it does not know this version yet")
        found = [(index, models.get(key, unknown)) for index, models in known]
        index, worst = min(found, key=lambda one: WORST_FIRST.index(one[1].state))
        if worst.reason and len({(model.state, model.reason) for _, model in found}) > 1:
            return ModelReport(*key, worst.state, self._named(index, worst.reason))
        return worst

    # What it does

    async def _come_up(self, loaded: Awaitable[object]) -> None:
        """Do what the others were told before this worker was there, then follow with them."""
        await loaded
        commands = self._shared.commands()
        last = {command.model: command for command in commands.values()}
        for command in last.values():
            if command.action != "load":  # a worker that starts has just loaded everything
                await self._execute(command)
        self._done = max(commands, default=0)
        self._caught_up = True
        self._tell()
        self._tasks.append(asyncio.create_task(self._follow()))

    async def _follow(self) -> None:
        while True:
            for number, command in self._shared.commands(after=self._done).items():
                outcome = await self._execute(command)
                self._shared.conclude(number, self._place.index, outcome)
                self._done = number
                self._tell()
            await asyncio.sleep(LOOK_S)

    async def _execute(self, command: Command) -> Outcome:
        actions: dict[Action, Callable[[str], Awaitable[int | None]]] = {
            "load": self._repository.load,
            "unload": self._repository.unload,
            "rollback": self._repository.rollback,
            "promote": self._repository.promote,
        }
        try:
            return Outcome(await actions[command.action](command.model))
        except ModelyardError as cause:
            return Outcome(error=str(cause), kind=type(cause).__name__)
        except Exception as cause:  # whatever goes wrong, those who wait must hear of it
            log.exception("%s of model '%s' failed", command.action, command.model)
            return Outcome(error=f"{command.action}: unforeseen: {type(cause).__name__}: {cause}")

    async def _everywhere(self, action: Action, model: str) -> int | None:
        number = self._shared.command(Command(action, model))
        try:
            async with asyncio.timeout(COMMAND_S):
                outcomes = [await self._outcome_of(number, index) for index in range(self._place.number)]
        except TimeoutError:
            waiting = [i + 1 for i in range(self._place.number) if self._shared.concluded(number, i) is None]
            raise ModelNotReady(
                f"{action} of model '{model}': workers {waiting} have not done it within {COMMAND_S:g} s; they still "
                "will. /v2/repository/index says when"
            ) from None
        for earlier, command in self._shared.commands().items():
            if earlier < number and command.model == model:
                self._shared.forget(earlier)
        return self._agreed(outcomes)

    async def _outcome_of(self, number: int, index: int) -> Outcome:
        while True:
            outcome = self._shared.concluded(number, index)
            if outcome is not None:
                return outcome
            report = self._shared.reported(index)
            if report is not None and report.done >= number:
                return Outcome()  # it was started again since, and came up with the change made
            await asyncio.sleep(LOOK_S)

    def _agreed(self, outcomes: list[Outcome]) -> int | None:
        failed = [index for index, outcome in enumerate(outcomes) if outcome.error]
        if failed:
            first = outcomes[failed[0]]
            where = (
                "" if len(failed) == len(outcomes) else f" (in workers {[i + 1 for i in failed]}, not in the others)"
            )
            raise getattr(errors, first.kind or "RuntimeFailed")(first.error + where)
        return next((outcome.value for outcome in outcomes if outcome.value is not None), None)
