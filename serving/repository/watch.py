"""Look at the repository's folder every few seconds, and have changed models followed.

A change is believed when two looks in a row see the same: what is still being copied looks different each time, and a
folder that is being replaced is gone only for a moment. A look reads no file.

Knows folders over time. Knows nothing of what a model is.
"""

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from bundle.errors import BundleError
from serving.repository.hands import Hands, Stopped
from serving.repository.scan import GONE, Found, place_of, scan

SLOW_S = 10.0
"""A look at a repository takes milliseconds; what takes so long hangs, or nearly."""

log = logging.getLogger("modelyard.serving")


class Follower(Protocol):
    """Who acts on what was seen."""

    async def follow(self, name: str, found: Found) -> None:
        """A model's folder has changed; nothing in it means that it is gone."""
        ...

    def retry_due(self, name: str) -> bool:
        """Whether to be told of a model again though nothing has changed."""
        ...

    def readable(self, readable: bool) -> None:
        """Whether the folder can be read now."""
        ...


class Watch:
    """Looks at one folder."""

    def __init__(
        self, folder: Path, hands: Hands, follower: Follower, poll_s: float, engines: Path | None = None
    ) -> None:
        """`engines`: a cache of engines outside of the folder, which is looked at too."""
        self._folder = folder
        self._engines = engines
        self._hands = hands
        self._follower = follower
        self._poll_s = poll_s
        self._problem = ""
        self._place: tuple[int, int] | None = None
        """Where models were found last."""

    async def run(self, found: dict[str, Found], place: tuple[int, int] | None = None) -> None:
        """Look for ever; `found` is what was acted on already, and was found at `place`."""
        self._place = place if found else None
        acted, before = dict(found), dict(found)
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                there = await self._look()
                if there is not None:
                    await self._act(acted, before, there)
                    before = there
            except Stopped:
                return

    async def _look(self) -> dict[str, Found] | None:
        """None where the folder cannot be read: what answers, goes on answering."""
        looking = asyncio.ensure_future(self._hands.prove(self._scan))
        try:
            await asyncio.wait({looking}, timeout=SLOW_S)
            if not looking.done():
                self._tell(
                    f"{self._folder}: looking at the model repository has taken {SLOW_S:g} s and goes on; "
                    "its volume hangs or is very slow"
                )
            there = await looking
        except BundleError as cause:
            self._tell(str(cause))
            return None
        finally:
            looking.cancel()
        if self._problem:
            log.info("%s: the model repository can be read again", self._folder)
        self._tell("")
        return there

    def _tell(self, problem: str) -> None:
        if problem and problem != self._problem:  # once, not every few seconds
            log.error("%s; what is served goes on", problem)
        self._problem = problem
        self._follower.readable(not problem)

    def _scan(self) -> dict[str, Found]:
        place = place_of(self._folder)
        there = scan(self._folder, self._engines)
        if there:
            self._place = place
        elif self._place is not None and place != self._place:
            # Where a volume was mounted there is an empty folder once it is not: nobody has deleted its models.
            raise BundleError(
                f"{self._folder}: the model repository is empty, and is another folder than the one whose models are "
                "served: is its volume mounted?"
            )
        return there

    async def _act(self, acted: dict[str, Found], before: dict[str, Found], there: dict[str, Found]) -> None:
        for name in sorted(acted.keys() | there.keys()):
            now = there.get(name, GONE)
            settled = now == before.get(name, GONE)
            if settled and (now != acted.get(name, GONE) or self._follower.retry_due(name)):
                await self._follower.follow(name, now)
                acted[name] = now
            if name not in there and acted.get(name) == GONE:
                del acted[name]
