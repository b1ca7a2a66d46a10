"""A model that is loading for as long as a test wants."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bundle.store import MANIFEST_FILE
from serving.settings import Settings
from tests.builders import write_fake_bundle
from tests.serving.running import SETTLE_S, starting


class SlowModel:
    """A good bundle whose manifest comes through a named pipe: until it is let through, reading it blocks."""

    def __init__(self, repository: Path, name: str = "slow") -> None:
        self._manifest = write_fake_bundle(repository, name) / MANIFEST_FILE
        self._content = self._manifest.read_bytes()
        self._let_through = False
        self._manifest.unlink()
        os.mkfifo(self._manifest)

    async def let_through(self) -> None:
        """Give the manifest to the reader; a second call does nothing."""
        if not self._let_through:
            self._let_through = True
            await asyncio.wait_for(asyncio.to_thread(self._manifest.write_bytes, self._content), SETTLE_S)


@asynccontextmanager
async def loading(repository: Path) -> AsyncIterator[tuple[httpx.AsyncClient, SlowModel]]:
    """The service while it loads 'slow'; whatever the test does, the model is let through in the end."""
    model = SlowModel(repository)
    async with starting(Settings(repository=repository)) as client:
        try:
            await _until_it_says(client, "loading slow")
            yield client, model
        finally:
            await model.let_through()


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait for the service to say that it is ready."""
    await _until_it_says(client, '"ready":true')


async def _until_it_says(client: httpx.AsyncClient, words: str) -> None:
    async with asyncio.timeout(SETTLE_S):
        while words not in (await client.get("/v2/health/ready")).text:
            await asyncio.sleep(0.005)
