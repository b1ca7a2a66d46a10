"""Model repositories in this process: bundles on disk, brought up and looked after as the service does it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bundle.preprocess import Limits
from bundle.store import Bundle
from runtime.choice import Choice
from runtime.proofs import Failure
from serving.batching.call import Call
from serving.batching.lanes import Lanes
from serving.batching.placing import Placing
from serving.observing.drift import Drift
from serving.observing.golden_watch import GoldenWatch
from serving.observing.metrics import Metrics
from serving.repository.model_settings import FILE, ModelSettings
from serving.repository.repository import ModelRepository
from serving.repository.served import ServedModel, Serving
from serving.repository.slots import ModelState
from tests.builders import png, write_fake_bundle
from tests.serving.running import SETTLE_S

TASK = "image-classification"
POLL_S = 0.02


class Counted:
    """Counts what the repository tells of models' lives."""

    def __init__(self) -> None:
        self.ready: dict[tuple[str, int], bool] = {}
        self.failures = 0
        self.readable: list[bool] = []
        self.runs: list[tuple[str, int, Choice]] = []
        self.forgotten: list[tuple[str, int]] = []

    def model_ready(self, model: str, version: int, ready: bool) -> None:
        self.ready[model, version] = ready

    def model_runs(self, model: str, version: int, choice: Choice) -> None:
        self.runs.append((model, version, choice))

    def load_failure(self, model: str) -> None:
        self.failures += 1

    def repository_readable(self, readable: bool) -> None:
        self.readable.append(readable)

    def forget(self, name: str, version: int) -> None:
        self.forgotten.append((name, version))


class Kept:
    """A repository that is looked after."""

    def __init__(self, models: ModelRepository, counted: Counted) -> None:
        self.models = models
        self.counted = counted

    def state(self, version: int, name: str = "fake") -> ModelState:
        """One version as everybody sees it."""
        (found,) = [model for model in self.models.models if (model.name, model.version) == (name, version)]
        return found

    def states(self, name: str = "fake") -> dict[int, str]:
        """State by version."""
        return {model.version: model.state for model in self.models.models if model.name == name}

    def version(self, name: str = "fake") -> int:
        """The version that answers."""
        return self.models.find(TASK, name, None).version

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to hold."""
        async with asyncio.timeout(SETTLE_S):
            while not holds():
                await asyncio.sleep(0.005)

    async def a_few_looks(self) -> None:
        """Long enough for whatever polling would do to be done."""
        await asyncio.sleep(10 * POLL_S)


def unread(folder: Path, counted: Counted) -> ModelRepository:
    """A repository that nobody has begun to read."""

    def serve(_: Bundle, __: ModelSettings, ___: tuple[Failure, ...]) -> ServedModel:
        raise AssertionError("nothing is to be served")

    return ModelRepository(folder, serve, counted)


@asynccontextmanager
async def kept(
    folder: Path,
    poll_s: float = 0.0,
    golden: GoldenWatch | None = None,
    limits: Limits | None = None,
    serve: Callable[..., ServedModel] = ServedModel,
    placing: Placing | None = None,
    begin: bool = True,
) -> AsyncIterator[Kept]:
    """The models of a folder, brought up unless `begin` says no; without polling unless asked for."""
    placing = placing or Placing()
    lanes = Lanes(placing.num_lanes(2))
    metrics = Metrics()
    serving = Serving(
        placing=placing, limits=limits or Limits(), lanes=lanes, metrics=metrics, drift=Drift(metrics), here_ms=0.0
    )
    counted = Counted()
    models = ModelRepository(
        folder,
        lambda bundle, of_model, without: serve(bundle, of_model, serving, *[without] * bool(without)),
        counted,
        poll_s,
        golden,
        placing.wanted.engines,
    )
    try:
        if begin:
            await models.start()
        yield Kept(models, counted)
    finally:
        await models.close()
        await asyncio.to_thread(lanes.close)


async def ask(served: ServedModel, raw: bytes | None = None) -> Any:
    """One answer of a model."""
    predictor = served.predictor
    return await served.ask(Call(), [raw or png()], lambda rows, made: predictor.decode(rows[0], made[0]))


def write_settings(repository: Path, text: str, name: str = "fake") -> None:
    """Write a model's serving.toml."""
    (repository / name).mkdir(parents=True, exist_ok=True)
    (repository / name / FILE).write_text(text, encoding="utf-8")


def damage(bundle: Path) -> Callable[[], None]:
    """Change an artefact in place; what is returned puts it right again."""
    artefact = next(bundle.glob("model.*"))
    sound = artefact.read_bytes()
    artefact.write_bytes(sound[:-2] + b"?" + sound[-1:])
    return lambda: artefact.write_bytes(sound) and None


def copied(bundle: Path, to: Path) -> Path:
    """The same bundle in another repository."""
    return Path(shutil.copytree(bundle, to))


def publish(repository: Path, labels: tuple[str, ...] = ("cat", "dog", "owl"), name: str = "fake") -> Path:
    """The next version of a model, told from others by its labels."""
    return write_fake_bundle(repository, name, labels)
