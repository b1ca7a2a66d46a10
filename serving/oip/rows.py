"""The tensors of a request -> rows for a model's queue, checked against its manifest; or its inputs still encoded.

Every refusal says what the model takes, and where the batch dimension is what is wrong, that. Knows manifests and
sent tensors. Knows nothing of HTTP, gRPC or queues.
"""

import math
from collections.abc import Sequence

import numpy as np

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.preprocess import ImageResize, Prepared, Series, TextTokens
from bundle.tensors import Array, Tensors, TensorSpec
from serving.oip.datatypes import BYTES, DATATYPES, WIDENS, Buffer, name_of
from serving.oip.parameters import Wishes
from serving.oip.request import InferRequest, SentTensor

ENCODED_NAMES = {ImageResize: "image", Series: "series", TextTokens: "text"}
"""What an encoded input may be called besides the name of a tensor of the model."""


def rows_of(manifest: Manifest, sent: Sequence[SentTensor], max_rows: int) -> list[Prepared | bytes]:
    """One input a row: its tensors, or its bytes as they are where BYTES came in place of the tensors.

    Raises:
        BadInput: the tensors are not what the model takes, or more rows than are answered at once.
    """
    if len(sent) == 1 and sent[0].datatype.name == BYTES and _may_be_encoded(manifest, sent[0].name):
        return list(_encoded(sent[0], max_rows))
    by_name = {one.name: one for one in sent}
    _check_names(manifest, set(by_name))
    sizes: dict[str, int] = {}
    for spec in manifest.inputs:
        _check_form(spec, by_name[spec.name], sizes)
    _check_number(sizes[str(manifest.inputs[0].shape[0])], max_rows)
    batch = {spec.name: _read(spec, by_name[spec.name]) for spec in manifest.inputs}
    if isinstance(manifest.preprocess, TextTokens):
        _check_tokens(manifest.preprocess, batch)
    return [Prepared(row, None) for row in _rows(batch)]  # type: ignore[arg-type]


def raw_request(manifest: Manifest, body: Buffer) -> InferRequest:
    """A body without any JSON: the one input of the model, one row; every output comes back binary.

    A body of exactly the tensor's size is the tensor; any other is the input still encoded.

    Raises:
        BadInput: the model takes several inputs that a body cannot stand for, or the body is empty.
    """
    if not len(body):
        raise BadInput("the body is empty; without JSON it is to be the data of the model's one input")
    wishes = Wishes(binary_outputs=True)
    spec = manifest.inputs[0]
    if len(manifest.inputs) == 1:
        shape = _shape_of_size(spec, len(body))
        if shape is not None:
            return InferRequest([SentTensor(spec.name, DATATYPES[name_of(spec.dtype)], shape, raw=body)], wishes=wishes)
    values = np.empty(1, np.object_)
    values[0] = bytes(body)
    return InferRequest([SentTensor(spec.name, DATATYPES[BYTES], (1,), values=values)], wishes=wishes)


def _shape_of_size(spec: TensorSpec, num_bytes: int) -> tuple[int, ...] | None:
    """The shape of one row that takes so many bytes; at most one of its sizes may be variable."""
    sizes = spec.shape[1:]
    variable = [size for size in sizes if isinstance(size, str)]
    fixed = math.prod(size for size in sizes if isinstance(size, int)) * np.dtype(spec.dtype).itemsize
    found, rest = divmod(num_bytes, fixed)
    if rest or len(variable) > 1 or (not variable and found != 1):
        return None
    return 1, *(size if isinstance(size, int) else found for size in sizes)


def _may_be_encoded(manifest: Manifest, name: str) -> bool:
    return name in {ENCODED_NAMES[type(manifest.preprocess)], *(spec.name for spec in manifest.inputs)}


def _encoded(tensor: SentTensor, max_rows: int) -> list[bytes]:
    shape = tensor.shape
    if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise BadInput(
            f"input '{tensor.name}' is BYTES of shape {list(shape)}; encoded inputs come as [N] or [N, 1], N of them"
        )
    _check_number(shape[0], max_rows)
    elements: list[bytes] = tensor.read().ravel().tolist()
    return elements


def _check_number(num_rows: int, max_rows: int) -> None:
    if not 1 <= num_rows <= max_rows:
        raise BadInput(
            f"the batch dimension, the first of every shape, is {num_rows}; a request holds 1 to {max_rows} rows"
        )


def _check_names(manifest: Manifest, given: set[str]) -> None:
    wanted = {spec.name for spec in manifest.inputs}
    if given == wanted:
        return
    problems = [f"'{name:.100}' is none of them" for name in sorted(given - wanted)]
    problems += [f"'{name}' is missing" for name in sorted(wanted - given)]
    raise BadInput(f"model '{manifest.name}' takes {_takes(manifest)}: {'; '.join(problems[:8])}")


def _takes(manifest: Manifest) -> str:
    return ", ".join(_form(spec) for spec in manifest.inputs)


def _form(spec: TensorSpec) -> str:
    return f"'{spec.name}' ({name_of(spec.dtype)} {_sizes(spec.shape)})"


def _sizes(shape: Sequence[int | str]) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]


def _check_form(spec: TensorSpec, sent: SentTensor, sizes: dict[str, int]) -> None:
    """Hold a tensor to its spec; `sizes` collects what named dimensions are, which inputs must agree on."""
    wanted = name_of(spec.dtype)
    if sent.datatype.name != wanted and (sent.datatype.name, wanted) not in WIDENS:
        raise BadInput(f"input '{spec.name}' is {sent.datatype.name}; the model takes {_form(spec)}")
    if not _fits(spec.shape, sent.shape):
        raise BadInput(f"input '{spec.name}' has shape {list(sent.shape)}{_misfit(spec, sent.shape)}")
    for axis, size in zip(spec.shape, sent.shape, strict=True):
        if isinstance(axis, str) and sizes.setdefault(axis, size) != size:
            raise BadInput(
                f"input '{spec.name}' has {size} for its dimension '{axis}', another input has {sizes[axis]}; "
                "all inputs of a request must agree on it"
            )


def _fits(wanted: Sequence[int | str], got: Sequence[int]) -> bool:
    return len(wanted) == len(got) and all(
        isinstance(want, str) or want == size for want, size in zip(wanted, got, strict=True)
    )


def _misfit(spec: TensorSpec, got: tuple[int, ...]) -> str:
    """What is wrong with a shape, in the words of the person who has to change it."""
    takes = f"; the model takes {_sizes(spec.shape)}, the first being the batch dimension (rows of a request)"
    if _fits(spec.shape[1:], got):
        return f": the batch dimension is missing; send {[1, *got]} for one row{takes}"
    if len(got) != len(spec.shape):
        return f": {len(got)} dimensions, where {len(spec.shape)} are expected{takes}"
    pairs = enumerate(zip(spec.shape, got, strict=True))
    wrong = next(i for i, (want, size) in pairs if isinstance(want, int) and want != size)
    return f": dimension {wrong} is {got[wrong]} and must be {spec.shape[wrong]}{takes}"


def _read(spec: TensorSpec, sent: SentTensor) -> Array:
    array = sent.read()
    return array.astype(spec.dtype) if array.dtype != np.dtype(spec.dtype) else array


def _check_tokens(spec: TextTokens, batch: Tensors) -> None:
    """Token ids index a table of the model: one beyond its end would break the engine for everybody in the batch."""
    length = batch["input_ids"].shape[1]
    if not 1 <= length <= spec.max_tokens:
        raise BadInput(f"input 'input_ids' has {length} tokens a row; the model takes 1 to {spec.max_tokens}")
    limits = {"input_ids": spec.vocab_size - 1, "attention_mask": 1, "token_type_ids": 1}
    for name, array in batch.items():
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > limits[name]:
            raise BadInput(f"input '{name}' holds values from {low} to {high}; the model takes 0 to {limits[name]}")


def _rows(batch: Tensors) -> list[Tensors]:
    num_rows = len(next(iter(batch.values())))
    return [{name: array[i] for name, array in batch.items()} for i in range(num_rows)]
