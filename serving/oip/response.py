"""Rows of outputs -> the body of an infer response: outputs in the order asked for, each as JSON or binary.

JSON has no NaN and no Infinity: both are written as null, and a client that must know them apart asks for binary.
Knows tensors, JSON and bytes. Knows nothing of HTTP or queues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.tensors import Array, Tensors
from serving.oip.classification import classify, labels_of
from serving.oip.datatypes import BYTES, DATATYPES, Buffer, bytes_from_array, name_of
from serving.oip.parameters import OutputWish
from serving.oip.request import InferRequest


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """One output of an answer, decided before anything is computed."""

    name: str
    datatype: str
    binary: bool
    classes: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output of an answer; for BYTES the array holds `bytes` objects."""

    name: str
    datatype: str
    array: Array
    binary: bool

    @property
    def raw(self) -> Buffer:
        """As it goes over the wire."""
        return bytes_from_array(self.array, self.datatype)


def plan(manifest: Manifest, request: InferRequest) -> list[PlannedOutput]:
    """What the answer to a request will hold; all outputs of the model where it asks for none.

    Raises:
        BadInput: an output that the model does not have, or one that JSON cannot hold.
    """
    specs = {spec.name: spec for spec in manifest.outputs}
    planned = []
    for wish in request.outputs or [OutputWish(name) for name in specs]:
        if wish.name not in specs:
            has = ", ".join(specs)
            raise BadInput(f"unexpected inference output '{wish.name:.100}' for model '{manifest.name}'; it has {has}")
        binary = request.wishes.binary_outputs if wish.binary is None else wish.binary
        datatype = BYTES if wish.classes else name_of(specs[wish.name].dtype)
        labels = labels_of(manifest, wish.name) if wish.classes else ()
        planned.append(PlannedOutput(wish.name, datatype, binary, wish.classes, labels))
    return planned


def check_in_json(planned: Sequence[PlannedOutput]) -> None:
    """Hold outputs that are to come as JSON to what JSON can hold; gRPC, which sends bytes always, need not ask.

    Raises:
        BadInput: one that it cannot.
    """
    for one in planned:
        if not one.binary and not DATATYPES[one.datatype].in_json:
            raise BadInput(
                f"output '{one.name}' is {one.datatype}, which has no form in JSON; please use the binary data format "
                f"for it: 'binary_data': true in its parameters"
            )


def outputs_of(planned: Sequence[PlannedOutput], rows: Sequence[Tensors]) -> list[OutputTensor]:
    """The outputs of an answer, rows joined.

    Raises:
        BadInput: the rows' outputs have unlike shapes, so that no tensor holds them.
    """
    return [_output(one, [row[one.name] for row in rows]) for one in planned]


def _output(planned: PlannedOutput, rows: Sequence[Array]) -> OutputTensor:
    if any(row.shape != rows[0].shape for row in rows):
        raise BadInput(f"the rows of output '{planned.name}' have unlike shapes; send the rows one by one")
    batch = rows[0][None] if len(rows) == 1 else np.stack(rows)
    if planned.classes:
        batch = classify(batch, planned.classes, planned.labels)
    return OutputTensor(planned.name, planned.datatype, batch, planned.binary)


def write(manifest: Manifest, request_id: str, outputs: Sequence[OutputTensor]) -> tuple[bytes, int | None]:
    """The body of the answer, and how much of it is JSON; None where all is."""
    described, tail = [], []
    for one in outputs:
        entry: dict[str, Any] = {"name": one.name, "datatype": one.datatype, "shape": one.array.shape}
        if one.binary:
            raw = one.raw
            tail.append(raw)
            # Nothing else in here: the C++ client takes any parameters for those of a binary tensor.
            entry["parameters"] = {"binary_data_size": len(raw)}
        else:
            entry["data"] = _json_values(one)
        described.append(entry)
    answer: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if request_id:
        answer["id"] = request_id
    head = msgspec.json.encode(answer | {"outputs": described})
    return (b"".join([head, *tail]), len(head)) if tail else (head, None)


def _json_values(output: OutputTensor) -> list[Any]:
    values: list[Any] = output.array.ravel().tolist()
    return [one.decode() for one in values] if output.datatype == BYTES else values
