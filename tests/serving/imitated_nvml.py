"""nvidia-ml-py, as far as it is asked here: two GPUs in NVML's order, one of which tells less than the other."""

# ruff: noqa: N801, N802, N816 - the names are NVIDIA's

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

NVML_TEMPERATURE_GPU = 0
NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
NVML_VOLATILE_ECC = 0
nvmlClocksEventReasonSwPowerCap = 4
nvmlClocksEventReasonHwSlowdown = 8
nvmlClocksEventReasonSwThermalSlowdown = 32
nvmlClocksEventReasonHwThermalSlowdown = 64
nvmlClocksEventReasonHwPowerBrakeSlowdown = 128


class NVMLError(Exception):
    """As in nvidia-ml-py the base of all."""


class NVMLError_NotSupported(NVMLError):
    """A figure that this GPU, or this container, does not tell."""


class NVMLError_NotFound(NVMLError):
    """No GPU of that UUID."""


class NVMLError_GpuIsLost(NVMLError):
    """It fell off the bus."""


@dataclass
class Card:
    """What a GPU tells; a name that is not in `figures` is not supported."""

    uuid: str
    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    lost: bool = False


FIRST = "12345678-0000-0000-0000-000000000001"
SECOND = "12345678-0000-0000-0000-000000000002"


class ImitatedNvml(SimpleNamespace):
    """The module."""

    def __init__(self, *cards: Card) -> None:
        constants = {name: value for name, value in globals().items() if name.startswith(("NVML", "nvml"))}
        super().__init__(**constants)
        self.cards = cards
        self.initialised = 0

    def nvmlInit(self) -> None:
        self.initialised += 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:
        for card in self.cards:
            if card.uuid == uuid:
                return card
        raise NVMLError_NotFound("Not Found")

    def nvmlDeviceGetName(self, card: Card) -> str:
        return card.name

    def nvmlDeviceGetTemperature(self, card: Card, sensor: int) -> int:
        assert sensor == NVML_TEMPERATURE_GPU
        return self._tell(card, "Temperature")

    def nvmlDeviceGetTotalEccErrors(self, card: Card, kind: int, counter: int) -> int:
        assert (kind, counter) == (NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC)
        return self._tell(card, "TotalEccErrors")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)
        return lambda card: self._tell(card, name.removeprefix("nvmlDeviceGet"))

    def _tell(self, card: Card, figure: str) -> Any:
        if card.lost:
            raise NVMLError_GpuIsLost("GPU is lost")
        if figure not in card.figures:
            raise NVMLError_NotSupported("Not Supported")
        return card.figures[figure]


def two_cards() -> ImitatedNvml:
    """One that tells all, and one that tells no power, as many containers do."""
    talkative = {
        "MemoryInfo": SimpleNamespace(used=3 << 30, total=80 << 30),
        "UtilizationRates": SimpleNamespace(gpu=75, memory=20),
        "PowerUsage": 412_500,
        "EnforcedPowerLimit": 700_000,
        "Temperature": 61,
        "TotalEccErrors": 2,
        "CurrentClocksEventReasons": nvmlClocksEventReasonSwPowerCap | 1,
    }
    quiet = {
        "MemoryInfo": SimpleNamespace(used=1 << 30, total=24 << 30),
        "UtilizationRates": SimpleNamespace(gpu=0, memory=0),
        "Temperature": 35,
    }
    return ImitatedNvml(
        Card(f"GPU-{FIRST}", "NVIDIA H200", talkative),
        Card(f"GPU-{SECOND}", "NVIDIA L4", quiet),
    )
