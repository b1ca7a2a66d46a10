"""Parity: does an artefact give the checkpoint's outputs? Names -> axes -> shapes -> values, in that order.

A wrong name explains a wrong value, not the other way round. A broken limit raises. Knows a loaded engine, the
checkpoint's module and limits. Knows nothing of how the artefact was made.
"""

from dataclasses import dataclass

import numpy as np

from bundle.errors import ParityError
from bundle.evidence import Check, CheckKind
from bundle.golden import Golden
from bundle.manifest import Manifest
from bundle.tensors import Tensors, TensorSpec, stack, unstack
from export.tolerance import Tolerance
from runtime.replay import max_abs_error
from runtime.runtime import Runtime
from training.checkpoint import forward_rows
from training.graph import Graph

RANDOM_SEED = 20260102  # the proof is repeatable; no training or calibration draws from it
MIDDLE_BATCH = 3  # neither 1 nor a power of two: what kernels and exporters treat specially


@dataclass(frozen=True)
class Cases:
    """Input rows and the checkpoint's outputs for them."""

    inputs: str
    """What kind of inputs, for messages."""
    rows: list[Tensors]
    expected: list[Tensors]


def golden_cases(golden: list[Golden]) -> Cases:
    """The recorded rows with the recorded outputs: also proves that the checkpoint still is what was recorded."""
    return Cases("golden", [sample.inputs for sample in golden], [sample.outputs for sample in golden])


def random_cases(manifest: Manifest, graph: Graph) -> Cases:
    """As many rows as the largest batch: noise, and the two extremes of the input's range."""
    rng = np.random.default_rng(RANDOM_SEED)
    rows = [
        {spec.name: rng.integers(0, 256, spec.shape[1:], dtype=np.uint8) for spec in manifest.inputs}  # type: ignore[arg-type]
        for _ in range(max(manifest.max_batch_size, MIDDLE_BATCH))
    ]
    rows[0] = {name: np.zeros_like(row) for name, row in rows[0].items()}
    rows[1] = {name: np.full_like(row, 255) for name, row in rows[1].items()}
    names = tuple(spec.name for spec in manifest.outputs)
    return Cases("random", rows, forward_rows(graph, rows, names))


def check_parity(runtime: Runtime, manifest: Manifest, cases: list[Cases], tolerance: Tolerance) -> list[Check]:
    """Make every check at batch sizes 1, 3 and the largest.

    Raises:
        ParityError: names the tensor, the error, the limit and the sample, at the first broken limit.
    """
    checks = [_check_names(runtime, manifest), _check_axes(runtime, manifest)]
    batch_sizes = sorted({1, min(MIDDLE_BATCH, manifest.max_batch_size), manifest.max_batch_size})
    answered = [(case, {size: _run(runtime, case.rows, size) for size in batch_sizes}) for case in cases]
    checks += [_check_shapes(case, size, by_size[size]) for case, by_size in answered for size in batch_sizes]
    for case, by_size in answered:
        for size in batch_sizes:
            checks += _check_values(case, size, by_size[size], tolerance)
        checks += _check_batches(case, by_size, tolerance)
    return checks


def _held(kind: CheckKind, subject: str, value: float, limit: float, cause: str) -> Check:
    # Evidence is JSON, which has no infinity.
    check = Check(kind=kind, subject=subject, value=min(value, np.finfo(np.float64).max), limit=limit)
    if not check.passed:
        raise ParityError(f"{kind}: {subject}: {cause}: {value:.3g} is over the limit {limit:.3g}")
    return check


def _names(specs: tuple[TensorSpec, ...]) -> list[str]:
    return [spec.name for spec in specs]


def _check_names(runtime: Runtime, manifest: Manifest) -> Check:
    got = _names(runtime.inputs) + _names(runtime.outputs)
    want = _names(manifest.inputs) + _names(manifest.outputs)
    wrong = len(set(got) ^ set(want)) + (sorted(got) == sorted(want) and got != want)
    return _held("names", "inputs and outputs", wrong, 0, f"the artefact has {got}, expected {want}")


def _check_axes(runtime: Runtime, manifest: Manifest) -> Check:
    pairs = zip(runtime.inputs + runtime.outputs, manifest.inputs + manifest.outputs, strict=True)
    wrong = [
        f"{got.name} {got.dtype} {list(got.shape)}, expected {list(want.shape)}" for got, want in pairs if got != want
    ]
    return _held("axes", "inputs and outputs", len(wrong), 0, "; ".join(wrong))


def _run(runtime: Runtime, rows: list[Tensors], batch_size: int) -> list[Tensors]:
    """Full batches only, so that every row is computed at exactly this size; the last rows stand in twice."""
    starts = [min(start, max(len(rows) - batch_size, 0)) for start in range(0, len(rows), batch_size)]
    by_index: dict[int, Tensors] = {}
    for start in starts:
        taken = [rows[(start + i) % len(rows)] for i in range(batch_size)]
        for i, row in enumerate(unstack(runtime.run(stack(taken)))):
            by_index[(start + i) % len(rows)] = row
    return [by_index[i] for i in range(len(rows))]


def _check_shapes(case: Cases, size: int, outputs: list[Tensors]) -> Check:
    wrong = [
        f"sample {i}: '{name}' is {list(got[name].shape)}, expected {list(want.shape)}"
        for i, (got, expected) in enumerate(zip(outputs, case.expected, strict=True))
        for name, want in expected.items()
        if got[name].shape != want.shape
    ]
    return _held("shapes", f"{case.inputs} inputs, batch {size}", len(wrong), 0, "; ".join(wrong[:3]))


def _check_values(case: Cases, size: int, outputs: list[Tensors], tolerance: Tolerance) -> list[Check]:
    limit = tolerance.atol if case.inputs == "golden" else tolerance.random_atol
    checks = []
    for name in case.expected[0]:
        errors = [max_abs_error(want[name], got[name]) for want, got in zip(case.expected, outputs, strict=True)]
        worst = int(np.argmax(errors))
        subject = f"'{name}', {case.inputs} inputs, batch {size}"
        checks.append(_held("values", subject, errors[worst], limit, f"largest error, at sample {worst}"))
    return checks


def _check_batches(case: Cases, outputs: dict[int, list[Tensors]], tolerance: Tolerance) -> list[Check]:
    """A row in a batch equals the same row alone."""
    checks = []
    for size in sorted(outputs)[1:]:
        for name in case.expected[0]:
            errors = [max_abs_error(one[name], many[name]) for one, many in zip(outputs[1], outputs[size], strict=True)]
            worst = int(np.argmax(errors))
            subject = f"'{name}', {case.inputs} inputs, alone against batch {size}"
            checks.append(_held("values", subject, errors[worst], tolerance.batch_atol, f"at sample {worst}"))
    return checks
