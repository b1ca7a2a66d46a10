"""A device that models run on, as engines and their proofs name it.

Knows names. Knows nothing of how a device is found (runtime/devices.py) or used.
"""

import re
from typing import Literal

from bundle.spec import Spec

DeviceKind = Literal["cpu", "cuda"]


class DeviceInfo(Spec):
    """One kind of device: two cards of the same type are the same."""

    kind: DeviceKind
    name: str
    """As its driver or the operating system calls it: "NVIDIA H200", "AMD EPYC 9B14"."""
    compute_capability: str = ""
    """"9.0" for a GPU; empty for a CPU."""
    num_cpus: int = 0
    """Processors that may be used, where it is a CPU; 0 for a GPU."""

    @property
    def slug(self) -> str:
        """For file names: "nvidia-h200", "amd-epyc-9b14-2cpu"."""
        name = re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-") or self.kind
        return f"{name}-{self.num_cpus}cpu" if self.kind == "cpu" else name

    def __str__(self) -> str:
        """For a message."""
        if self.kind == "cpu":
            return f"{self.name} ({self.num_cpus} processors)"
        return f"{self.name} (compute capability {self.compute_capability})"
