"""The form of a task: what is asked of the meaning of outputs, whatever the engine."""

from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from bundle.shares import Counts
from bundle.tensors import Tensors, TensorSpec

OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound=msgspec.Struct)


class Task(Protocol[OptionsT, ResultT]):
    """The meaning of one model's outputs; made from the manifest's decode parameters."""

    decode_type: ClassVar[type]
    options_type: type[OptionsT]
    result_type: type[ResultT]

    def __init__(self, parameters: Any) -> None: ...

    def output_specs(self, preprocess: Any) -> tuple[TensorSpec, ...]:
        """Tensors a graph must give for this task, with named axes; some have the size of what was prepared."""
        ...

    def golden_options(self) -> OptionsT:
        """Options that show as much of the answer as a golden sample should hold."""
        ...

    def decode(self, outputs: Tensors, source: Any, options: OptionsT) -> ResultT:
        """Turn one row of outputs into the answer a user sees."""
        ...

    def agree(self, expected: ResultT, got: ResultT, atol: float) -> str | None:
        """None where two answers are the same to a user; otherwise what differs.

        `atol` is the error that the artefact's scores may have; an answer that flips within it is a tie.
        """
        ...

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        """How far one row of outputs is from another, by output name, in the unit of `atol`; infinite for other shapes.

        For plain scores the largest absolute error. Where rows may change places or ties may flip, the task says
        what counts.
        """
        ...

    def summarise(self, results: list[ResultT]) -> dict[str, list[float]]:
        """Reference statistics of many answers, to compare live traffic with: shares that sum to 1."""
        ...

    def count(self, result: ResultT) -> Counts:
        """What one answer adds to these statistics."""
        ...
