"""One loaded artefact that answers rows of raw inputs, a bad one with the reason why: what every runner calls.

Knows a predictor and raw inputs. Knows nothing of where they come from or where answers go.
"""

import threading
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

import msgspec

from bundle.errors import BadInput, DeviceLost, ModelyardError, RuntimeFailed
from bundle.preprocess import Prepared
from bundle.store import Bundle
from bundle.tensors import Tensors, group_alike
from runtime.choice import Choice
from runtime.predictor import Predictor, load_choice
from runtime.runtime import ON_CPU, Placement

Raw = Callable[[], bytes]
"""Fetches one raw input, on the thread that prepares it.

Raises BadInput where it cannot be had, DataError where the store fails.
"""


class Scored(msgspec.Struct, frozen=True):
    """One row: an answer, or the kind of error and its message."""

    answer: msgspec.Struct | None
    cause: str = ""
    """Class of the error: BadInput, InputTooLarge, RuntimeFailed ..."""
    error: str = ""


class Scorer:
    """Callable from several threads at once."""

    def __init__(
        self, bundle: Bundle, choice: Choice, placement: Placement = ON_CPU, options: msgspec.Struct | None = None
    ) -> None:
        self.predictor: Predictor = load_choice(bundle, choice, placement)
        self.batch_size = cheapest_batch(choice, bundle.manifest.max_batch_size)
        self.batch_ms = array("f")
        """Milliseconds of every batch so far."""
        self._options = options
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End calls that go on, soon; what they would have given is given up."""
        self._stopped.set()

    def __call__(self, raws: Sequence[Raw]) -> list[Scored]:
        """Answer every row, in order. Rows of one shape share batches; a bad row never fails its neighbours.

        Raises:
            DeviceLost: the device is gone, and no row will be answered any more.
        DataError: the store that raw inputs come from fails.
        CancelledError: it was stopped.
        """
        scored: list[Scored | None] = [None] * len(raws)
        prepared: dict[int, Prepared] = {}
        for i, raw in enumerate(raws):
            self._go_on()
            try:
                prepared[i] = self.predictor.prepare(raw())
            except BadInput as cause:
                scored[i] = _failed(cause)
        order = list(prepared)
        rows = [prepared[i].tensors for i in order]
        for alike in group_alike(rows):
            for start in range(0, len(alike), self.batch_size):
                self._go_on()
                chosen = alike[start : start + self.batch_size]
                for j, outputs in zip(chosen, self._run([rows[j] for j in chosen]), strict=True):
                    scored[order[j]] = self._decode(outputs, prepared[order[j]])
        return [one for one in scored if one is not None]

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise CancelledError

    def _run(self, rows: list[Tensors]) -> list[Tensors | RuntimeFailed]:
        """A batch; where it fails, its halves, so that in the end only bad rows fail, and memory may suffice."""
        start = time.perf_counter()
        try:
            outputs = self.predictor.run_batch(rows)
            self.batch_ms.append((time.perf_counter() - start) * 1e3)
            return list(outputs)
        except DeviceLost:
            raise
        except RuntimeFailed as cause:
            if len(rows) == 1:
                return [cause]
        half = len(rows) // 2
        return [*self._run(rows[:half]), *self._run(rows[half:])]

    def _decode(self, outputs: Tensors | RuntimeFailed, prepared: Prepared) -> Scored:
        if isinstance(outputs, RuntimeFailed):
            return _failed(outputs)
        try:
            return Scored(self.predictor.decode(outputs, prepared, self._options))
        except ModelyardError as cause:
            return _failed(cause)


def _failed(cause: Exception) -> Scored:
    return Scored(None, type(cause).__name__, str(cause))


def cheapest_batch(choice: Choice, largest: int) -> int:
    """The measured batch size in which a row costs least; the largest where nothing was measured."""
    table: dict[int, float] = choice.latency.median_ms if choice.latency else {}
    sizes = {size: ms / size for size, ms in table.items() if size <= largest}
    return min(sizes, key=lambda size: (sizes[size], size)) if sizes else largest


def read_options(predictor_options: type[msgspec.Struct], given: Sequence[str]) -> Any:
    """`top_k=3` ... -> the task's options.

    Raises:
        BadInput: no such option, or a value that is not allowed.
    """
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise BadInput(f"option '{one}' is not of the form name=value")
        pairs[name] = value
    try:
        return msgspec.convert(pairs, predictor_options, strict=False)
    except msgspec.ValidationError as cause:
        allowed = ", ".join(predictor_options.__struct_fields__)
        raise BadInput(f"options {', '.join(given)}: {cause}; the task takes {allowed or 'none'}") from None
