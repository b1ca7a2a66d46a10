"""`modelyard prove`: finish a bundle's evidence on the device at hand, and write it down, or refuse.

An artefact that fails has no record afterwards, whatever it had before. Knows bundles, records and proof. Knows nothing
of how engines are built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle.engines import EngineRecord, engines_folder, plan_path, read_records, record_stem, write_record
from bundle.errors import BundleError, DataError, RuntimeFailed
from bundle.store import Bundle
from export.device_proof import Bench, Candidate, HeldOut, Outcome, prepare_proof, prove_candidates, reference_predictor
from export.say import say
from runtime.predictor import Predictor

TestSplitWanted = Literal["auto", "yes", "no"]


@dataclass(frozen=True)
class Ask:
    """What is to be proven."""

    artefacts: tuple[str, ...] = ()
    """Exactly these; all that are meant for the device, where none is named."""
    runtimes: tuple[str, ...] = ()
    """Only in these; in all, where none is named."""
    test_split: TestSplitWanted = "auto"
    engines: Path | None = None
    """A cache of engines and proofs outside of the bundle."""


def prove_bundle(bundle: Bundle, bench: Bench, ask: Ask) -> tuple[list[Outcome], list[Path]]:
    """Prove, write the records of what stands, remove those of what fails; returns outcomes and records' paths.

    Raises:
        BundleError: an artefact that the bundle does not have, or nothing to prove. RuntimeFailed: a runtime that is
            not installed. DataError: the test split was asked for and is not at hand.
    """
    candidates, damaged = _candidates(bundle, bench, ask)
    outcomes = [*damaged]
    if candidates:
        expected = reference_predictor(bundle, bench)
        held_out, told = find_held_out(bundle, expected, ask.test_split)
        outcomes += prove_candidates(prepare_proof(bundle, bench, expected, held_out, told), candidates, say)
    written = [path for outcome in outcomes if (path := settle(bundle, bench, outcome, ask.engines))]
    return outcomes, written


def meant_for(bundle: Bundle, kind: str, named: Sequence[str]) -> list[str]:
    """The artefacts that were named, or all that are meant for a kind of device.

    Raises:
        BundleError: no such artefact, or none is meant for it.
    """
    there = bundle.manifest.artefacts
    unknown = [name for name in named if name not in there]
    if unknown:
        raise BundleError(f"{bundle.folder}: no artefact '{unknown[0]}'; it has {', '.join(there)}")
    meant = list(named) or [name for name, artefact in there.items() if artefact.device in ("any", kind)]
    if not meant:
        raise BundleError(f"{bundle.folder}: none of its artefacts ({', '.join(there)}) is meant for '{kind}'")
    return meant


def _candidates(bundle: Bundle, bench: Bench, ask: Ask) -> tuple[list[Candidate], list[Outcome]]:
    """What is to be proven, and plans that were changed since they were."""
    names = meant_for(bundle, bench.device.kind, ask.artefacts)
    artefacts = bundle.manifest.artefacts
    found = [
        Candidate(name, artefacts[name].runtime, bundle.path(artefacts[name]))
        for name in names
        if not ask.runtimes or artefacts[name].runtime in ask.runtimes
    ]
    damaged: list[Outcome] = []
    for record in built_here(bundle, bench, ask.engines):
        if record.artefact not in names or (ask.runtimes and record.runtime not in ask.runtimes):
            continue
        folder = engines_folder(bundle, ask.engines)
        plan = Candidate(record.artefact, record.runtime, folder / str(record.file), record.file, record.built_with)
        try:
            plan_path(folder, record)
            found.append(plan)
        except BundleError as cause:
            damaged.append(Outcome(plan, None, str(cause)))
    if not found and not damaged:
        asked = ", ".join(ask.runtimes)
        raise BundleError(f"{bundle.folder}: none of {', '.join(names)} runs in {asked}, and no engine of them is here")
    for runtime in sorted({one.runtime for one in found}):
        if bench.version(runtime) is None:
            raise RuntimeFailed(f"runtime '{runtime}' is not installed here, so nothing can be proven in it")
    return found, damaged


def built_here(bundle: Bundle, bench: Bench, engines: Path | None) -> list[EngineRecord]:
    """Records of plans for this very device and the installed version of their runtime."""
    return [
        record
        for record in read_records(bundle, engines)[0]
        if record.file is not None
        and record.device == bench.device
        and record.runtime_version == bench.version(record.runtime)
    ]


def find_held_out(bundle: Bundle, expected: Predictor, wanted: TestSplitWanted) -> tuple[HeldOut | None, str]:
    """The test split, scored by the fp32 artefact, and what was scored; or None, and why.

    Raises:
        DataError: it was asked for ("yes") and is not at hand.
    """
    if wanted == "no":
        return None, "not scored: not asked for"
    try:
        from export.held_out import score_held_out  # brings torch

        split = score_held_out(bundle, expected, may_download=wanted == "yes")
    except ImportError as cause:
        why = f"the training extra is not installed ({cause})"
    except (DataError, OSError) as cause:
        why = str(cause)
    else:
        return split, f"{split.num_samples} samples scored"
    if wanted == "yes":
        raise DataError(f"{bundle.folder}: its test split cannot be scored: {why}")
    say(f"the test split is not scored: {why}")
    return None, f"not scored: {why}"


def settle(bundle: Bundle, bench: Bench, outcome: Outcome, engines: Path | None) -> Path | None:
    """Write the record of a proven candidate, or remove what a refused one had; returns the record's path."""
    folder = engines_folder(bundle, engines)
    if outcome.evidence is not None:
        return write_record(folder, outcome.record(bundle, bench))
    candidate = outcome.candidate
    version = bench.version(candidate.runtime) or ""
    record = folder / f"{record_stem(candidate.artefact, candidate.runtime, version, bench.device)}.json"
    record.unlink(missing_ok=True)
    if candidate.plan and not any(one.file == candidate.plan for one in read_records(bundle, engines)[0]):
        candidate.path.unlink(missing_ok=True)
    return None


def table(outcomes: list[Outcome]) -> str:
    """For people: a line for each that is proven, with its worst figure and its speed; for each refused, the reason."""
    rows = [("artefact", "runtime", "nearest to its limit", "ms a batch")]
    rows += [_row(one) for one in outcomes if one.evidence is not None]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if len(rows) > 1 else []
    return "\n".join([*lines, *(f"{one.candidate}: REFUSED: {one.refused}" for one in outcomes if one.refused)])


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    assert outcome.evidence is not None  # noqa: S101 - only of proven ones
    measured = [check for check in outcome.evidence.checks if check.limit > 0]
    worst = max(measured, key=lambda check: check.value / check.limit, default=None)
    figure = f"{worst.value:.2g} of {worst.limit:.2g} ({worst.kind})" if worst else "-"
    latency = ", ".join(f"{size}: {value:.3g}" for size, value in outcome.evidence.latency.median_ms.items())
    return outcome.candidate.artefact, outcome.candidate.runtime, figure, latency
