"""The models of a repository: who answers a request, and loading, unloading and rolling back while requests run.

`find` is asked ten thousand times a second: it reads `Routes`, which are replaced in one assignment when anything
changes. All else happens on the event loop now and then, and its work on threads of its own (`Hands`).

Knows models by name. Knows nothing of HTTP. One model's refusal never touches another.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bundle.errors import BundleError, ModelNotFound
from bundle.spec import NAME_PATTERN
from runtime.cpus import available_cpus
from serving.observing.canary import report_of
from serving.observing.golden_watch import GoldenWatch
from serving.repository.bring_up import Serve
from serving.repository.hands import Hands, Stopped
from serving.repository.memory import give_back
from serving.repository.routes import Routes
from serving.repository.scan import Found, place_of, scan, scan_model
from serving.repository.served import ServedModel
from serving.repository.shelf import Shelf
from serving.repository.slots import ModelState, Proven
from serving.repository.watch import Watch
from serving.repository.yard import RepositoryMetrics, Yard

UNLOAD_PATIENCE_S = 30.0
"""How long the caller of an unload waits for queued work; that goes on afterwards all the same."""

log = logging.getLogger("modelyard.serving")


class ModelRepository:
    """The models in a folder."""

    def __init__(
        self,
        folder: Path,
        serve: Serve,
        metrics: RepositoryMetrics,
        poll_s: float = 0.0,
        golden: GoldenWatch | None = None,
        engines: Path | None = None,
    ) -> None:
        """`poll_s`: how often the folder is looked at, 0 for never; `golden`: how models are asked while they run;
        `engines`: a cache of engines outside of it.
        """
        self._folder = folder
        self._engines = engines
        self._metrics = metrics
        self._hands = Hands(available_cpus())
        self._yard = Yard(folder, serve, self._hands, metrics, self._publish, self._lose_device)
        self._lost = ""
        self._shelves: dict[str, Shelf] = {}
        self._problem = "the repository has not been read yet"
        self._routes = Routes(problem=self._problem)
        self._starting = True
        self._golden = golden
        self._watch = Watch(folder, self._hands, self, poll_s, engines) if poll_s else None
        self._tasks: list[asyncio.Task[None]] = []

    # Asked for every request.

    def find(self, task: str | None, name: str | None, version: int | None) -> ServedModel:
        """The model that a request means; the name may be left out where one model of the task is there.

        Whoever has awaited anything since asks again: another version may have been swapped in.

        Raises:
            ModelNotFound: no such model, version, or none (or several) of the task. ModelNotReady: it does not answer.
        """
        return self._routes.find(task, name, version)

    @property
    def models(self) -> list[ModelState]:
        """Every version this process has to do with, by name and number."""
        return list(self._routes.models)

    def not_ready_because(self) -> str:
        """Why the service should not get traffic, or "": all was decided once, a model answers, and rightly so."""
        loading = sorted({model.name for model in self._routes.models if model.state == "loading"})
        if self._starting and (self._problem or loading):
            return self._problem or f"loading {', '.join(loading)}"
        if self._routes:
            wrong = self._golden.not_ready_because(self._answering()) if self._golden else ""
            return "; ".join(filter(None, (self._dead_because(), wrong)))
        reasons = "; ".join(f"{model.name}: {model.reason}" for model in self._routes.models)
        return reasons or self._problem

    def not_live_because(self) -> str:
        """Why the process should be ended, or ""."""
        wrong = self._golden.not_live_because(self._answering()) if self._golden else ""
        return "; ".join(filter(None, (self._dead_because(), wrong)))

    def _dead_because(self) -> str:
        """Which engines, of canaries too, never answer again: what has lost its device loses it for the process."""
        served = (proven.served for shelf in self._shelves.values() for proven in shelf.ready.values())
        return "; ".join(filter(None, (self._lost, *(one.dead_because for one in served))))

    def _lose_device(self, reason: str) -> None:
        self._lost = reason

    # The life of the service.

    async def start(self) -> None:
        """Bring up every model, several at a time; then look after them until `close`."""
        found: dict[str, Found] = {}
        place = None
        try:
            place = await self._hands.prove(place_of, self._folder)
            found = await self._hands.prove(scan, self._folder, self._engines)
            self._problem = "" if found else f"{self._folder} holds no models; make one with `modelyard export`"
        except BundleError as cause:
            self._problem = f"{cause}; `modelyard export --repository` makes such a folder"
        if self._problem:
            log.error("%s", self._problem)
        self._metrics.repository_readable(bool(found) or not self._problem)
        for name, one in found.items():
            self._shelf(name).expect(one)
        self._publish()
        try:
            await asyncio.gather(*(self.follow(name, one) for name, one in found.items()))
            await self._hands.prove(give_back)
        except Stopped:
            return
        self._hands.started()
        self._starting = False
        if self._watch is not None:
            self._begin(self._watch.run(found, place))
        if self._golden is not None:
            self._begin(self._golden.run(self._answering))

    async def close(self) -> None:
        """Begin nothing more; what answers, goes on answering."""
        self._hands.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What operators do.

    async def load(self, name: str) -> None:
        """Read a model anew: its newest versions by policy are proven and swapped in, whatever was decided before.

        Raises:
            ModelNotFound: no such folder. ModelNotReady: what should answer is refused; begins with "failed to load".
        """
        found = await self._look(name)
        if name not in self._shelves and not found.is_folder:
            raise ModelNotFound(f"failed to load '{name}': {self._folder} holds no such model")
        await self._shelf(name).load(found)

    async def unload(self, name: str) -> None:
        """Take a model away until it is loaded again; what it has accepted is answered.

        Raises:
            ModelNotFound: no such model.
        """
        await self._known(name).unload(UNLOAD_PATIENCE_S)

    async def rollback(self, name: str) -> int:
        """Serve the version before; newer ones that are there now are left alone until `load` or a newer one still.

        Raises:
            ModelNotFound: no such model, or no version before. ModelNotReady: none of them is good.
        """
        return await self._known(name).roll_back(await self._look(name))

    async def promote(self, name: str) -> int:
        """Let a model's canary answer.

        Raises:
            ModelNotFound: no such model, or no canary. ModelNotReady: the canary is refused.
        """
        return await self._known(name).promote(await self._look(name))

    def canary(self, name: str) -> dict[str, Any]:
        """How a model's canary does, as JSON values.

        Raises:
            ModelNotFound: no such model.
        """
        return {"model": name, **report_of(self._known(name).shadow)}

    async def follow(self, name: str, found: Found) -> None:
        """Bring one model into line with what lies there; an empty finding takes it away."""
        shelf = self._shelf(name)
        await shelf.follow(found)
        if not found.is_folder and not shelf.ready:
            await shelf.drains.over()
            self._shelves.pop(name, None)
        self._publish()

    def readable(self, readable: bool) -> None:
        """Whether the folder can be read now."""
        self._metrics.repository_readable(readable)

    def retry_due(self, name: str) -> bool:
        """Whether a refused version of a model should be tried again though nothing has changed."""
        shelf = self._shelves.get(name)
        return shelf is not None and shelf.retry_due()

    # Inside.

    def _shelf(self, name: str) -> Shelf:
        return self._shelves.setdefault(name, Shelf(name, self._yard))

    def _known(self, name: str) -> Shelf:
        if name not in self._shelves:
            raise ModelNotFound(self._no_such(name))
        return self._shelves[name]

    def _no_such(self, name: str) -> str:
        return f"no model '{name}'; there are {', '.join(sorted(self._shelves)) or 'none'}"

    async def _look(self, name: str) -> Found:
        if not re.fullmatch(NAME_PATTERN, name):  # before it becomes a part of a path
            raise ModelNotFound(f"failed to load {name!r}: a model's name matches {NAME_PATTERN}")
        return await self._hands.prove(scan_model, self._folder, name, self._engines)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _answering(self) -> list[Proven]:
        """Versions that answer, without canaries: those may be wrong without harm."""
        return [
            proven
            for shelf in self._shelves.values()
            for version, proven in shelf.ready.items()
            if not shelf.is_on_trial(version)
        ]

    def _publish(self) -> None:
        """Tell everybody at once who answers now."""
        shelves = [self._shelves[name] for name in sorted(self._shelves)]
        states = [state for shelf in shelves for state in shelf.shown()]
        defaults = [shelf.ready[shelf.default].served for shelf in shelves if shelf.default is not None]
        before, self._routes = self._routes, Routes(states, defaults, self._problem)
        for name, version in before.answering - self._routes.answering:
            self._metrics.model_ready(name, version, False)
        for name, version in self._routes.answering - before.answering:
            self._metrics.model_ready(name, version, True)
