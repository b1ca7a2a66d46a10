"""What becomes of a batch that fails: neighbours answer, and a device that is short or lost is not made worse."""

from collections.abc import Sequence

import numpy as np
import pytest

from bundle.errors import DeviceLost, OutOfMemory, Overloaded, RuntimeFailed
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.policy import run_each

POISON = -1


class Device:
    """Doubles numbers; holds only so many rows, refuses poison, and may be lost after so many batches."""

    def __init__(self, holds: int = 100, lost_after: int = 100) -> None:
        self.sizes: list[int] = []
        self._holds = holds
        self._lost_after = lost_after

    def prepare(self, raw: bytes) -> Prepared:
        raise NotImplementedError

    def is_quick(self, raw: bytes) -> bool:
        raise NotImplementedError

    def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
        self.sizes.append(len(rows))
        if len(self.sizes) > self._lost_after:
            raise DeviceLost("illegal memory access")
        if len(rows) > self._holds:
            raise OutOfMemory(f"{len(rows)} rows need more than there is")
        if any(row["x"] == POISON for row in rows):
            raise RuntimeFailed("poison")
        return [{"y": row["x"] * 2} for row in rows]


def told(device: Device, *numbers: int) -> tuple[list[object], int]:
    """Each row's number, or the type of its error; and the rows that were too many."""
    outputs, too_large = run_each(device, [{"x": np.array(number)} for number in numbers], alone=False)
    return [type(one) if isinstance(one, Exception) else int(one["y"]) for one in outputs], too_large


def test_a_batch_that_fits_is_run_once() -> None:
    device = Device()
    assert told(device, 1, 2, 3) == ([2, 4, 6], 0)
    assert device.sizes == [3]


@pytest.mark.parametrize(("numbers", "sizes"), [((1, 2, 3, 4), [4, 2, 2]), ((1, 2, 3), [3, 2, 1])])
def test_a_batch_that_does_not_fit_is_run_in_halves(numbers: tuple[int, ...], sizes: list[int]) -> None:
    device = Device(holds=2)
    assert told(device, *numbers) == ([2 * number for number in numbers], len(numbers))
    assert device.sizes == sizes


def test_a_half_that_does_not_fit_is_refused_and_the_other_answers() -> None:
    device = Device(holds=2)
    assert told(device, 1, 2, 3, 4, 5) == ([Overloaded] * 3 + [8, 10], 5)
    assert device.sizes == [5, 3, 2], "each half is tried once"


def test_one_row_that_does_not_fit_is_refused_at_once() -> None:
    device = Device(holds=0)
    assert told(device, 1) == ([Overloaded], 1)
    assert device.sizes == [1]


def test_who_is_refused_for_memory_is_told_so_and_may_try_again() -> None:
    outputs, _ = run_each(Device(holds=0), [{"x": np.array(1)}, {"x": np.array(2)}], alone=False)
    first, second = outputs
    assert isinstance(first, Overloaded)
    assert first.retry_after_s > 0
    assert str(first) == (
        "the memory of the device is short: it does not hold a batch of 1 rows now; try again "
        "(1 rows need more than there is)"
    )
    assert first is not second, "each caller raises its own"


def test_a_bad_row_fails_alone() -> None:
    device = Device()
    assert told(device, 1, POISON, 3) == ([2, RuntimeFailed, 6], 0)
    assert device.sizes == [3, 1, 1, 1]


def test_a_bad_row_in_a_half_fails_alone() -> None:
    device = Device(holds=2)
    assert told(device, 1, POISON, 3, 4) == ([2, RuntimeFailed, 6, 8], 4)


def test_a_lost_device_is_not_asked_row_by_row() -> None:
    device = Device(lost_after=0)
    assert told(device, 1, 2, 3) == ([DeviceLost] * 3, 0)
    assert device.sizes == [3]


def test_a_device_that_is_lost_meanwhile_is_asked_no_more() -> None:
    device = Device(lost_after=2)
    assert told(device, 1, POISON, 3, 4) == ([2, DeviceLost, DeviceLost, DeviceLost], 0)
    assert device.sizes == [4, 1, 1]


def test_memory_that_runs_short_among_single_rows_refuses_one() -> None:
    class Fickle(Device):
        def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
            if rows[0]["x"] == 3 and len(rows) == 1:
                raise OutOfMemory("somebody else took it")
            return super().run(rows, alone)

    assert told(Fickle(), 1, POISON, 3) == ([2, RuntimeFailed, Overloaded], 0)
