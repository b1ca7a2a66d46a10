"""Where the models of all processes are asked for: this process alone, or the workers that it is one of.

Knows the environment. Knows nothing of how either answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from serving.workers.fleet import Fleet, Repository, State
from serving.workers.shared import Place


class Alone:
    """A service of one process: its own models are all there are."""

    def __init__(self, repository: Repository, on_all_ready: Callable[[], None]) -> None:
        self._on_all_ready = on_all_ready
        self.not_ready_because = repository.not_ready_because
        self.not_live_because = repository.not_live_because
        self.load = repository.load
        self.unload = repository.unload
        self.rollback = repository.rollback
        self.promote = repository.promote
        self._repository = repository

    @property
    def models(self) -> Sequence[State]:
        """Every version."""
        return self._repository.models

    async def start(self, loaded: Awaitable[object]) -> None:
        """Announce the models once they are loaded."""

        async def announce() -> None:
            await loaded
            self._on_all_ready()

        self._announcing = asyncio.create_task(announce())

    async def stop(self) -> None:
        """Nobody else has to be told."""
        self._announcing.cancel()
        await asyncio.gather(self._announcing, return_exceptions=True)


def fleet_of(repository: Repository, on_all_ready: Callable[[], None]) -> Alone | Fleet:
    """The workers that this process is one of, by what its environment says; or itself alone."""
    place = Place.given()
    return Fleet(place, repository, on_all_ready) if place else Alone(repository, on_all_ready)
