"""Parity: does an artefact give its reference's outputs? Names -> axes -> shapes -> values, in that order.

A wrong name explains a wrong value, not the other way round. A broken limit raises. Knows a loaded engine, the
reference's outputs and limits. Knows nothing of how the artefact was made.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bundle.errors import ParityError
from bundle.evidence import Check, CheckKind
from bundle.golden import Golden
from bundle.manifest import Manifest
from bundle.tasks import TASKS, Task
from bundle.tensors import Compute, Tensors, TensorSpec, group_alike, stack, unstack
from export.noise import noise
from export.tolerance import Tolerance
from runtime.runtime import Runtime

RANDOM = "random"
MIDDLE_BATCH = 3  # neither 1 nor a power of two: what kernels and exporters treat specially


@dataclass(frozen=True)
class Cases:
    """Input rows and the reference's outputs for them."""

    inputs: str
    """What kind of inputs, for messages; "random" ones have a limit of their own."""
    rows: list[Tensors]
    expected: list[Tensors]
    against: str = ""
    """Whose outputs, where it is not the bundle's reference."""

    def __str__(self) -> str:
        """For a message: "golden inputs"."""
        return f"{self.inputs} inputs{self.against and f' against {self.against}'}"


def golden_cases(golden: list[Golden]) -> Cases:
    """The recorded rows with the recorded outputs: also proves that the checkpoint still is what was recorded."""
    return Cases("golden", [sample.inputs for sample in golden], [sample.outputs for sample in golden])


def noise_cases(manifest: Manifest, golden: list[Golden], compute: Compute) -> Cases:
    """As many rows of noise as the largest batch, and what the reference makes of them."""
    rows = noise(manifest.preprocess, golden, max(manifest.max_batch_size, MIDDLE_BATCH))
    return Cases(RANDOM, rows, compute(rows))


def check_parity(runtime: Runtime, manifest: Manifest, cases: list[Cases], tolerance: Tolerance) -> list[Check]:
    """Make every check at batch sizes 1, 3 and the largest.

    Raises:
        ParityError: names the tensor, the error, the limit and the sample, at the first broken limit.
    """
    checks = [_check_names(runtime, manifest), _check_axes(runtime, manifest)]
    batch_sizes = sorted({1, min(MIDDLE_BATCH, manifest.max_batch_size), manifest.max_batch_size})
    answered = [(case, {size: _run(runtime, case.rows, size) for size in batch_sizes}) for case in cases]
    checks += [_check_shapes(case, size, by_size[size]) for case, by_size in answered for size in batch_sizes]
    task = TASKS[manifest.task](manifest.decode)
    for case, by_size in answered:
        for size in batch_sizes:
            checks += _check_values(task, case, size, by_size[size], tolerance)
        checks += _check_batches(task, case, by_size, tolerance)
    return checks


def _held(kind: CheckKind, subject: str, value: float, limit: float, cause: str) -> Check:
    # Evidence is JSON, which has no infinity.
    finite = min(value, np.finfo(np.float64).max) if value == value else np.finfo(np.float64).max
    check = Check(kind=kind, subject=subject, value=finite, limit=limit)
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
        f"{got.name} {got.dtype} {list(got.shape)}, expected {list(want.shape)}"
        for got, want in pairs
        if not got.fits(want)
    ]
    return _held("axes", "inputs and outputs", len(wrong), 0, "; ".join(wrong))


def _run(runtime: Runtime, rows: list[Tensors], batch_size: int) -> list[Tensors]:
    """Full batches of alike rows only, so that every row is computed at exactly this size; rows repeat to fill them."""
    by_index: dict[int, Tensors] = {}
    for alike in group_alike(rows):
        starts = [min(start, max(len(alike) - batch_size, 0)) for start in range(0, len(alike), batch_size)]
        for start in starts:
            chosen = [alike[(start + i) % len(alike)] for i in range(batch_size)]
            answered = unstack(runtime.run(stack([rows[i] for i in chosen])))
            by_index |= dict(zip(chosen, answered, strict=True))
    return [by_index[i] for i in range(len(rows))]


def _check_shapes(case: Cases, size: int, outputs: list[Tensors]) -> Check:
    wrong = [
        f"sample {i}: '{name}' is {list(got[name].shape)}, expected {list(want.shape)}"
        for i, (got, expected) in enumerate(zip(outputs, case.expected, strict=True))
        for name, want in expected.items()
        if got[name].shape != want.shape
    ]
    return _held("shapes", f"{case}, batch {size}", len(wrong), 0, "; ".join(wrong[:3]))


def _check_values(
    task: Task[Any, Any], case: Cases, size: int, outputs: list[Tensors], tolerance: Tolerance
) -> list[Check]:
    limit = tolerance.random_atol if case.inputs == RANDOM else tolerance.atol
    subject = f"{case}, batch {size}"
    return _hold_worst(task, case.expected, outputs, subject, limit)


def _check_batches(
    task: Task[Any, Any], case: Cases, outputs: dict[int, list[Tensors]], tolerance: Tolerance
) -> list[Check]:
    """A row in a batch equals the same row alone."""
    checks = []
    for size in sorted(outputs)[1:]:
        subject = f"{case}, alone against batch {size}"
        checks += _hold_worst(task, outputs[1], outputs[size], subject, tolerance.batch_atol)
    return checks


def _hold_worst(
    task: Task[Any, Any], expected: list[Tensors], got: list[Tensors], subject: str, limit: float
) -> list[Check]:
    """The largest difference of any row, output by output."""
    differences = [task.differences(*pair) for pair in zip(expected, got, strict=True)]
    checks = []
    for name in differences[0]:
        errors = [difference[name] for difference in differences]
        worst = int(np.argmax(errors))
        checks.append(
            _held("values", f"'{name}', {subject}", errors[worst], limit, f"largest error, at sample {worst}")
        )
    return checks
