"""Predictor: prepare -> run -> decode for one artefact, synchronously; what scoring calls and what export proves.

Knows a bundle and a runtime. Knows nothing of queues, threads or HTTP.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from bundle.errors import BundleError
from bundle.manifest import Manifest
from bundle.preprocess import Limits, Prepare, Prepared, load_preprocess
from bundle.store import Bundle
from bundle.tasks import TASKS
from bundle.tensors import Tensors, group_alike, stack, unstack
from runtime.choice import Choice
from runtime.runtime import Placement, Runtime, load_runtime


class Predictor:
    """One artefact of one bundle, ready to answer. Every method may be called from several threads at once."""

    def __init__(self, manifest: Manifest, runtime: Runtime, prepare: Prepare, limits: Limits | None = None) -> None:
        self.manifest = manifest
        self.runtime = runtime
        self._prepare = prepare
        self.task = TASKS[manifest.task](manifest.decode)
        self.limits = limits or Limits()

    def prepare(self, raw: bytes) -> Prepared:
        """Turn one raw input into rows of input tensors.

        Raises:
            BadInput: the bytes are not what the model reads.
        """
        return self._prepare(raw, self.limits)

    def run(self, rows: Sequence[Tensors]) -> list[Tensors]:
        """Compute rows in batches of at most `max_batch_size`; rows of unlike shape never share a batch.

        Raises:
            RuntimeFailed: the engine refused a batch or broke.
        """
        outputs: list[Tensors] = [{}] * len(rows)
        for alike in group_alike(rows):
            for start in range(0, len(alike), self.manifest.max_batch_size):
                chosen = alike[start : start + self.manifest.max_batch_size]
                for i, row in zip(chosen, self.run_batch([rows[i] for i in chosen]), strict=True):
                    outputs[i] = row
        return outputs

    def run_batch(self, rows: Sequence[Tensors]) -> list[Tensors]:
        """Compute rows of one shape as one batch, however many they are.

        Raises:
            RuntimeFailed: the engine refused the batch or broke.
        """
        return unstack(self.runtime.run(stack(rows)))

    def decode(self, outputs: Tensors, prepared: Prepared, options: Any = None) -> msgspec.Struct:
        """Turn one row of outputs into the answer a user sees; `options` are of the task's options type."""
        answer: msgspec.Struct = self.task.decode(outputs, prepared.source, options or self.task.options_type())
        return answer

    def predict(self, raws: Sequence[bytes], options: Any = None) -> list[msgspec.Struct]:
        """Answer raw inputs, one answer each, in order.

        Raises:
            BadInput: an input cannot be read. RuntimeFailed: the engine broke.
        """
        prepared = [self.prepare(raw) for raw in raws]
        outputs = self.run([one.tensors for one in prepared])
        return [self.decode(row, one, options) for row, one in zip(outputs, prepared, strict=True)]


def load_predictor(bundle: Bundle, artefact: str | None = None, limits: Limits | None = None) -> Predictor:
    """Load an artefact (the bundle's default if none is named) on the CPU and join it with the bundle's two ends.

    Raises:
        BundleError: no such artefact. RuntimeFailed: the engine cannot load it.
    """
    name = artefact or bundle.manifest.default_artefact
    if name not in bundle.manifest.artefacts:
        raise BundleError(f"{bundle.folder}: no artefact '{name}'; it has {', '.join(bundle.manifest.artefacts)}")
    chosen = bundle.manifest.artefacts[name]
    return join(bundle, load_runtime(bundle.manifest, chosen.runtime, bundle.path(chosen)), limits)


def load_choice(bundle: Bundle, choice: Choice, placement: Placement, limits: Limits | None = None) -> Predictor:
    """Load what was chosen for a device, and join it with the bundle's two ends.

    Raises:
        RuntimeFailed: the engine cannot load it.
    """
    return join(bundle, load_runtime(bundle.manifest, choice.runtime, choice.path, placement), limits)


def join(bundle: Bundle, runtime: Runtime, limits: Limits | None = None) -> Predictor:
    """A loaded engine between the bundle's two ends."""
    return Predictor(bundle.manifest, runtime, load_preprocess(bundle.manifest.preprocess, bundle.folder), limits)
