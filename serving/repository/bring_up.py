"""One version's folder -> a model that answers as its checkpoint did: checked, built, replayed and warmed, or refused.

Nothing here is done on the event loop, nor by the threads that answer. Knows bundles and predictors. Knows nothing of
other versions, of traffic or of HTTP.
"""

import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bundle.errors import DeviceLost, ModelyardError, OutOfMemory, ParityError, RuntimeFailed
from bundle.golden import Golden
from bundle.store import Bundle, open_bundle
from bundle.tensors import Tensors
from runtime.choice import Choice
from runtime.predictor import Predictor
from runtime.proofs import Failure
from runtime.replay import replay
from serving.batching.engines import ALL_PROCESSORS
from serving.repository.hands import Hands
from serving.repository.memory import BLOCKS_APART
from serving.repository.model_settings import ModelSettings
from serving.repository.served import ChoiceFailed, ServedModel
from serving.repository.slots import Proven


class Serve(Protocol):
    """Who builds the engines and the batcher of a checked bundle."""

    def __call__(self, bundle: Bundle, settings: ModelSettings, without: tuple[Failure, ...], /) -> ServedModel:
        """The best that is there, but for what has failed."""
        ...


class Choices(Protocol):
    """Who is told what was chosen."""

    def model_runs(self, model: str, version: int, choice: Choice) -> None:
        """What a version that answers runs as."""


NUM_FOR_WIDE = 2
"""Golden samples that the engine with all processors replays: it is the same file, only split among more threads."""

log = logging.getLogger("modelyard.serving")


async def bring_up(folder: Path, settings: ModelSettings, serve: Serve, hands: Hands) -> Proven:
    """Hash-check, build, replay and warm one version; whatever fails, nothing of it stays.

    What a GPU cannot use makes room for the next best that is there, whose choice tells why (`fell_back`). A GPU that
    is lost is nothing to go on with. All is tried anew whenever the version is brought up.

    Raises:
        ModelyardError: why it is refused, for the person who made the bundle.
    """
    bundle = await hands.prove(open_bundle, folder)
    failed: tuple[Failure, ...] = ()
    while True:
        try:
            return await _bring_up(bundle, settings, serve, failed, hands)
        except ChoiceFailed as cause:
            if any(one.what == cause.failure.what for one in failed):
                raise cause.cause from None  # its proof was replaced meanwhile: who looks after the folder comes again
            failed = (*failed, cause.failure)
            log.warning("%s: %s; the next best is tried, if there is any", folder, cause.failure)
        await hands.prove(gc.collect)  # what failed may hang in a knot with its error, and its memory is needed


async def _bring_up(
    bundle: Bundle, settings: ModelSettings, serve: Serve, failed: tuple[Failure, ...], hands: Hands
) -> Proven:
    with BLOCKS_APART.while_loading():  # and not while it computes: blocks that come and go are slow like this
        served = await hands.build(serve, bundle, settings, failed)
    try:
        return Proven(served, await hands.prove(_prove, served, bundle))
    except BaseException as cause:
        await served.retire()
        may_fall_back = served.placed.is_gpu and not isinstance(cause, DeviceLost)
        if may_fall_back and isinstance(cause, ParityError | RuntimeFailed):
            raise ChoiceFailed(served.choice, cause) from cause
        raise


def _prove(served: ServedModel, bundle: Bundle) -> Golden:
    samples = bundle.golden()
    while True:
        try:
            _replay_and_warm(served, samples)
            return _to_ask_again(served, samples[0])
        except OutOfMemory:
            if served.batcher.shortage.largest == 1:
                raise
            served.batcher.lower(served.batcher.shortage.largest)


def _replay_and_warm(served: ServedModel, samples: list[Golden]) -> None:
    """Every engine gives its golden answers and meets every size of batch, in every one of its slots."""
    batch_size = served.batcher.shortage.largest
    ladder = [size for size in served.batch_ladder if size < batch_size] + [batch_size]
    for where, predictor in served.engines.loaded.items():
        replayed = samples[:NUM_FOR_WIDE] if where == ALL_PROCESSORS else samples
        replay(predictor, replayed, served.choice.atol, batch_size, num_alone=1)
        for size in ladder:
            _warm(predictor, [samples[0].inputs] * size, served.placed.placements[0].slots)


def _warm(predictor: Predictor, rows: list[Tensors], slots: int) -> None:
    if slots == 1:
        predictor.run_batch(rows)
        return
    with ThreadPoolExecutor(slots, thread_name_prefix="modelyard-warm") as side_by_side:
        list(side_by_side.map(predictor.run_batch, [rows] * slots))


def _to_ask_again(served: ServedModel, sample: Golden) -> Golden:
    """The sample with the outputs of this engine on this machine, which are proven now, for what comes later."""
    row = served.predictor.run([served.predictor.prepare(sample.raw).tensors])[0]
    return replace(sample, outputs=row)


async def is_served(served: ServedModel, folder: Path, hands: Hands) -> bool:
    """Whether a folder that was touched still holds the very bundle that is served, and would run as it does.

    An engine may have been built or proven meanwhile. Where nothing changes but what is told of the choice, the model
    has the new words.

    Raises:
        ModelyardError: it could not be served as it lies there.
    """
    bundle = await hands.prove(open_bundle, folder)
    if bundle.manifest.digest != served.manifest.digest:
        return False
    tuned = await hands.prove(served.choose_anew)
    if not tuned.runs_as(served.tuned):
        return False
    served.tuned = tuned
    return True


def tell_what_runs(served: ServedModel, metrics: Choices) -> None:
    """Show what a version runs as; a fallback is never silent."""
    choice = served.choice
    metrics.model_runs(served.name, served.version, choice)
    if choice.fell_back:
        text = "model '%s' version %d falls back to '%s' in %s: %s"
        log.warning(text, served.name, served.version, choice.artefact, choice.runtime, choice.fell_back)


def why(folder: Path, cause: Exception) -> str:
    """The reason of a refusal, as the index shows it; what nobody foresaw also goes to the log with its traceback."""
    if isinstance(cause, ModelyardError):
        return str(cause)
    log.error("%s: unforeseen while it was brought up", folder, exc_info=cause)
    return f"{folder}: unforeseen: {type(cause).__name__}: {cause}"
