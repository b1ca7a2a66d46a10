"""`modelyard build-engine` for a whole repository: the newest version of each model, one after the other.

One that fails stops none of the others, and is told at the end. Knows repositories and orders. Knows nothing of how an
engine is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundle.errors import BundleError
from bundle.store import Bundle, open_bundle
from export.build_engine import Order, build_engines
from export.device_proof import Bench
from export.prove_device import table
from export.say import say


@dataclass
class BuiltAll:
    """What became of the models."""

    records: list[Path] = field(default_factory=list)
    """Of engines that are there now, built or found."""
    skipped: list[str] = field(default_factory=list)
    """Models that are not meant for this kind of device."""
    failed: dict[str, str] = field(default_factory=dict)
    """Model -> why it has no proven engine."""


def build_all(folders: Sequence[Path], bench: Bench, trt: Any, order: Order) -> BuiltAll:
    """Build what each bundle lacks.

    Raises:
        RuntimeFailed: TensorRT is not installed. DeviceLost: the GPU is gone for this process.
    """
    built = BuiltAll()
    for folder in folders:
        name = f"{folder.parent.name} version {folder.name}"
        try:
            _build_one(open_bundle(folder), name, bench, trt, order, built)
        except BundleError as cause:
            built.failed[name] = str(cause)
            say(f"{name}: {cause}")
    return built


def _build_one(bundle: Bundle, name: str, bench: Bench, trt: Any, order: Order, built: BuiltAll) -> None:
    wanted = _wanted(bundle, bench, order)
    if not wanted:
        asked = " or ".join(order.artefacts) or "artefact"
        say(
            f"{name}: has no {asked} for '{bench.device.kind}' (it has {', '.join(bundle.manifest.artefacts)}): skipped"
        )
        built.skipped.append(name)
        return
    say(f"{name}:")
    one = build_engines(bundle, bench, trt, replace(order, artefacts=wanted))
    say(table(one.outcomes))
    built.records += [*one.there, *one.written]
    if not one.there and not one.written:
        refused = {str(outcome.candidate): outcome.refused for outcome in one.outcomes if outcome.refused}
        reasons = [f"{what}: {why}" for what, why in (*one.unbuilt.items(), *refused.items())]
        built.failed[name] = "no engine is proven: " + "; ".join(reasons)


def _wanted(bundle: Bundle, bench: Bench, order: Order) -> tuple[str, ...]:
    """The artefacts that are meant for the device; of these the named ones, where any is named."""
    meant = [name for name, one in bundle.manifest.artefacts.items() if one.device in ("any", bench.device.kind)]
    return tuple(name for name in meant if name in order.artefacts or not order.artefacts)
