"""One version's folder -> a model that answers as its checkpoint did: checked, built, replayed and warmed, or refused.

Nothing here is done on the event loop, nor by the threads that answer. Knows bundles and predictors. Knows nothing of
other versions, of traffic or of HTTP.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bundle.errors import ModelyardError
from bundle.golden import Golden
from bundle.store import Bundle, open_bundle
from runtime.replay import replay
from serving.hands import Hands
from serving.memory import BLOCKS_APART
from serving.model_settings import ModelSettings
from serving.served import ServedModel
from serving.slots import Proven

Serve = Callable[[Bundle, ModelSettings], ServedModel]
"""Builds the engines and the batcher of a checked bundle."""

NUM_FOR_WIDE = 2
"""Golden samples that the engine with all processors replays; the one that carries the load replays all."""

log = logging.getLogger("modelyard.serving")


async def bring_up(folder: Path, settings: ModelSettings, serve: Serve, hands: Hands) -> Proven:
    """Hash-check, build, replay and warm one version; whatever fails, nothing of it stays.

    Raises:
        ModelyardError: why it is refused, for the person who made the bundle.
    """
    bundle = await hands.prove(open_bundle, folder)
    with BLOCKS_APART.while_loading():  # and not while it computes: blocks that come and go are slow like this
        served = await hands.build(serve, bundle, settings)
    try:
        golden = await hands.prove(_prove, served, bundle)
    except BaseException:
        await served.retire()
        raise
    return Proven(served, golden)


def _prove(served: ServedModel, bundle: Bundle) -> Golden:
    samples = bundle.golden()
    atol = served.choice.atol
    batch_size = served.policy.largest
    replay(served.predictor, samples, atol, batch_size, num_alone=1)
    if served.wide is not None:  # the same file, only split among more threads
        replay(served.wide, samples[:NUM_FOR_WIDE], atol, batch_size, num_alone=1)
    for predictor in filter(None, (served.predictor, served.wide)):
        for size in served.batch_ladder():
            predictor.run_batch([samples[0].inputs] * size)
    return _to_ask_again(served, samples[0])


def _to_ask_again(served: ServedModel, sample: Golden) -> Golden:
    """The sample with the outputs of this engine on this machine, which are proven now, for what comes later."""
    row = served.predictor.run([served.predictor.prepare(sample.raw).tensors])[0]
    return replace(sample, outputs=row)


def why(folder: Path, cause: Exception) -> str:
    """The reason of a refusal, as the index shows it; what nobody foresaw also goes to the log with its traceback."""
    if isinstance(cause, ModelyardError):
        return str(cause)
    log.error("%s: unforeseen while it was brought up", folder, exc_info=cause)
    return f"{folder}: unforeseen: {type(cause).__name__}: {cause}"
