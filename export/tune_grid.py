"""Which settings are tried: batch sizes x layouts of batches on a device.

Knows numbers and what a person may ask for. Knows nothing of engines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bundle.device import DeviceInfo
from bundle.errors import BadInput

GPU_INSTANCES = (1, 2, 4)
"""One computes while the next is copied; more help where batches are small."""


@dataclass(frozen=True)
class Layout:
    """So many batches at once, on so many processors each."""

    instances: int
    threads: int = 1


def batch_sizes(asked: Sequence[int], largest: int) -> list[int]:
    """What was asked for, or 1, 2, 4, ... and the largest.

    Raises:
        BadInput: a size that the bundle's evidence does not cover.
    """
    if not asked:
        return sorted({min(2**power, largest) for power in range(largest.bit_length() + 1)})
    wrong = [size for size in asked if not 1 <= size <= largest]
    if wrong:
        raise BadInput(f"--batch-sizes {_listed(wrong)}: the bundle's evidence covers batches of 1 to {largest}")
    return sorted(set(asked))


def layouts(asked: Sequence[int], device: DeviceInfo) -> list[Layout]:
    """Instances as asked for, or a choice of them; on a CPU also one batch on all processors, beside one on one.

    Raises:
        BadInput: less than one instance, or more than there are processors.
    """
    wrong = [number for number in asked if number < 1]
    if wrong:
        raise BadInput(f"--instances {_listed(wrong)}: expected 1 or more")
    if device.kind == "cuda":
        return [Layout(number) for number in sorted(set(asked or GPU_INSTANCES))]
    most = device.num_cpus
    over = [number for number in asked if number > most]
    if over:
        raise BadInput(f"--instances {_listed(over)}: an instance has a processor for itself, and there are {most}")
    numbers = sorted(set(asked)) if asked else batch_sizes((), most)
    wide = [Layout(1, most)] if most > 1 and 1 in numbers else []
    return [Layout(number) for number in numbers] + wide


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
