"""The service on a device, beside the engine that it chose: how much of the engine's own rate comes over HTTP.

Asked in two ways: as clients send (encoded inputs: decoding and preparing cost processors, not the device), and with
prepared tensors over the Open Inference Protocol. Answers are checked meanwhile. Knows servers, drivers and engines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bundle.errors import ModelyardError
from bundle.store import Bundle
from bundle.tensors import Tensors, stack
from loadtests.gpu_contestants import Stage
from loadtests.gpu_pace import Questions, golden_questions, rate
from loadtests.questions import ROUNDING, questions_for
from loadtests.questions import Questions as Requests
from loadtests.server import ready, start_service
from loadtests.under_load import Checked, drive_and_check
from loadtests.wrk import Target, drive_hard
from runtime.choice import ANYTHING, Choice, Wanted, choose
from runtime.cpus import available_cpus
from runtime.devices import installed_version
from runtime.predictor import load_choice
from runtime.runtime import Placement
from serving.oip.datatypes import DATATYPES
from serving.oip.request import HEADER
from training.gpu_results import HttpRow, Served

WARM_UP_S = 1.0
DEVICE_FLAGS = {"cpu": ("--device=cpu",), "cuda": ("--device=cuda", "--cuda-graphs")}
"""So that the service runs the engine in the way that the engine is measured alone."""
ROWS_A_REQUEST = (1, 8)
"""Of prepared tensors."""


@dataclass(frozen=True)
class Drive:
    """How hard, and for how long."""

    connections: tuple[int, ...]
    seconds: float
    flags: tuple[str, ...] = ()
    """Of the service."""


def served(bundle: Bundle, stage: Stage, drive: Drive) -> Served:
    """Start the service on the model's repository, drive it, and measure the engine alone before."""
    try:
        choice = choose(bundle, stage.device, _wanted(stage), installed_version)
        own, layout = _own_rate(bundle, choice, stage, drive.seconds)
        # Under load the service runs the same engine in batches of other sizes, which round by so much.
        asked = questions_for(bundle, load_choice(bundle, choice, stage.placement), max(ROUNDING, choice.atol))
        http = _http(bundle, asked, stage, drive)
    except (ModelyardError, RuntimeError) as cause:  # RuntimeError: the server process, with all that it printed
        return Served(left_out=str(cause))
    return Served(
        artefact=choice.artefact,
        runtime=choice.runtime,
        why=choice.why,
        own_rows_per_second=own,
        own_layout=layout,
        http=http,
    )


def _wanted(stage: Stage) -> Wanted:
    return Wanted(engines=stage.engines) if stage.engines else ANYTHING


def _own_rate(bundle: Bundle, choice: Choice, stage: Stage, seconds: float) -> tuple[float, str]:
    """The best of every batch size by every sensible number of callers."""
    asked = golden_questions(bundle)
    best = (0.0, "")
    for callers, placement in _layouts(stage):
        runtime = load_choice(bundle, choice, placement).runtime
        for size in stage.batch_sizes:
            found = rate([runtime] * callers, asked.batch(size), seconds)
            best = max(best, (found, f"batch {size}, {callers} at a time"))
    return best


def _layouts(stage: Stage) -> list[tuple[int, Placement]]:
    if stage.device.kind == "cuda":
        slots = {n: Placement("cuda", slots=n, graph_batches=stage.batch_sizes) for n in (1, 2)}
        return list(slots.items())
    cpus = available_cpus()
    return [(1, Placement(threads=cpus)), *([(cpus, Placement())] if cpus > 1 else [])]


def _http(bundle: Bundle, asked: Requests, stage: Stage, drive: Drive) -> tuple[HttpRow, ...]:
    repository = bundle.folder.parents[1]
    cache = (f"--engines={stage.engines}",) if stage.engines else ()
    service = start_service(repository, *DEVICE_FLAGS[stage.device.kind], *cache, *drive.flags)
    with ready(service):
        targets = [("as clients send", 1, asked.service(service.port))]
        targets += [
            (f"tensors of {rows}", rows, tensors(service.port, bundle, golden_questions(bundle), rows))
            for rows in ROWS_A_REQUEST
            if rows <= bundle.manifest.max_batch_size
        ]
        return tuple(_row(*target, asked, number, drive.seconds) for target in targets for number in drive.connections)


def _row(sent: str, rows: int, target: Target, asked: Requests, connections: int, seconds: float) -> HttpRow:
    drive_hard(target, connections, WARM_UP_S)
    seen = drive_and_check(target, asked.golden, connections, seconds)
    return HttpRow(
        sent=sent,
        rows_per_request=rows,
        connections=connections,
        rows_per_second=_rows_per_second(seen, rows, connections, seconds),
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        checked=seen.checked,
        wrong=seen.wrong + seen.broken,
    )


def _rows_per_second(seen: Checked, rows: int, connections: int, seconds: float) -> float:
    """Requests that were checked beside the others hold one row each."""
    checked_per_second = seen.checked / seconds if connections > 1 else 0.0
    return max(0.0, (seen.per_second - checked_per_second) * rows + checked_per_second)


def tensors(port: int, bundle: Bundle, asked: Questions, rows: int) -> Target:
    """Prepared golden inputs as binary tensors of the Open Inference Protocol, so many rows a request."""
    batches = [stack([one.inputs for one in _from(asked, first, rows)]) for first in range(len(asked.samples))]
    heads = [_head(batch) for batch in batches]
    bodies = tuple(
        head + b"".join(array.tobytes() for array in batch.values()) for head, batch in zip(heads, batches, strict=True)
    )
    path = f"/v2/models/{bundle.manifest.name}/infer"
    return Target(port, path, "application/octet-stream", bodies, f"{HEADER}: {len(heads[0])}")


def _from(asked: Questions, first: int, rows: int) -> Sequence:
    return asked.cycled(first + rows)[first:]


def _head(batch: Tensors) -> bytes:
    names = {datatype.wire: name for name, datatype in DATATYPES.items() if datatype.in_json or name == "FP16"}
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": names[array.dtype],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in batch.items()
    ]
    return msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
