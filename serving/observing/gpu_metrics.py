"""Memory, load, power and heat of the GPUs that this process may use, read from their driver whenever somebody scrapes.

The driver's library (NVML) numbers all GPUs of the machine, CUDA those that the process may see: their UUIDs tell which
is which. What a GPU does not tell is left out, without a word and without harm to the rest of a scrape. Knows NVML and
Prometheus' families. Knows nothing of models.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from bundle.errors import RuntimeFailed
from runtime.devices import gpu_uuids
from serving.observing.families import Family

log = logging.getLogger("modelyard.serving")

LABELS: Final = ("gpu", "uuid", "name")
THROTTLED: Final = "modelyard_gpu_throttled"
REASONS: Final = {
    "power": ("nvmlClocksEventReasonSwPowerCap", "nvmlClocksEventReasonHwPowerBrakeSlowdown"),
    "heat": ("nvmlClocksEventReasonSwThermalSlowdown", "nvmlClocksEventReasonHwThermalSlowdown"),
    "hardware": ("nvmlClocksEventReasonHwSlowdown",),
}
"""Why a GPU is slowed down -> what NVML calls it."""


class Figure(NamedTuple):
    """One figure of a GPU: what it is, and how NVML is asked for it."""

    text: str
    read: Callable[[Any, Any], float]
    """(pynvml, handle of a GPU) -> the figure."""


def _reasons(nvml: Any, gpu: Any) -> int:
    return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu))


def _ecc_errors(nvml: Any, gpu: Any) -> float:
    return float(nvml.nvmlDeviceGetTotalEccErrors(gpu, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC))


FIGURES: Final = {
    "modelyard_gpu_memory_used_bytes": Figure(
        "Memory of a GPU that is in use, by whomever.",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    ),
    "modelyard_gpu_memory_total_bytes": Figure(
        "Memory that a GPU has.",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    ),
    "modelyard_gpu_utilisation_ratio": Figure(
        "Share of the last second in which a GPU computed anything.",
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    ),
    "modelyard_gpu_memory_utilisation_ratio": Figure(
        "Share of the last second in which its memory was read or written.",
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).memory / 100,
    ),
    "modelyard_gpu_power_watts": Figure(
        "Power that a GPU draws.",
        lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    ),
    "modelyard_gpu_power_limit_watts": Figure(
        "Power that a GPU may draw.",
        lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
    ),
    "modelyard_gpu_temperature_celsius": Figure(
        "Temperature of a GPU.",
        lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
    "modelyard_gpu_ecc_errors_total": Figure(
        "Memory errors that were not corrected, since the driver was loaded.", _ecc_errors
    ),
}
_THROTTLED_TEXT: Final = "1 where a GPU is slowed down: power, heat or hardware."

GPU_FAMILIES: Final = {
    **{
        name: Family("counter" if name.endswith("_total") else "gauge", LABELS, one.text)
        for name, one in FIGURES.items()
    },
    THROTTLED: Family("gauge", (*LABELS, "reason"), _THROTTLED_TEXT),
}
"""Name, as a scrape shows it -> what it is."""


class Gpu(NamedTuple):
    """One GPU."""

    labels: list[str]
    handle: Any
    """NVML's."""


class Gpus:
    """The GPUs of this process, as NVML knows them."""

    def __init__(self, nvml: Any, uuids: Sequence[str]) -> None:
        self._nvml = nvml
        self._uuids = uuids  # CUDA's numbers are their places
        self._said_lost: set[str] = set()

    def families(self) -> list[Metric]:
        """Every figure that any of them tells, now."""
        gpus = list(self._handles())
        families = [self._family(name, figure, gpus) for name, figure in FIGURES.items()]
        return [family for family in (*families, self._throttled(gpus)) if family.samples]

    def _family(self, name: str, figure: Figure, gpus: list[Gpu]) -> Metric:
        family = _empty(name, LABELS, figure.text)
        for labels, handle in gpus:
            value = self._told(figure.read, labels, handle)
            if value is not None:
                family.add_metric(labels, value)
        return family

    def _throttled(self, gpus: list[Gpu]) -> Metric:
        family = _empty(THROTTLED, (*LABELS, "reason"), _THROTTLED_TEXT)
        for labels, handle in gpus:
            bits = self._told(_reasons, labels, handle)
            for reason, names in REASONS.items() if bits is not None else ():
                family.add_metric([*labels, reason], float(any(bits & getattr(self._nvml, name) for name in names)))
        return family

    def _handles(self) -> Iterator[Gpu]:
        for index, uuid in enumerate(self._uuids):
            for full in (f"GPU-{uuid}", f"MIG-{uuid}"):
                try:
                    handle = self._nvml.nvmlDeviceGetHandleByUUID(full)
                    yield Gpu([str(index), full, self._nvml.nvmlDeviceGetName(handle)], handle)
                    break
                except self._nvml.NVMLError as cause:
                    self._note(cause, full)

    def _told(self, read: Callable[[Any, Any], Any], labels: list[str], handle: Any) -> Any:
        """What NVML tells; None where it does not."""
        try:
            return read(self._nvml, handle)
        except self._nvml.NVMLError as cause:
            self._note(cause, labels[1])
            return None

    def _note(self, cause: Exception, uuid: str) -> None:
        if isinstance(cause, self._nvml.NVMLError_GpuIsLost) and uuid not in self._said_lost:
            self._said_lost.add(uuid)
            log.error("%s is lost: %s; it has no figures until the machine is started anew", uuid, cause)


def gpu_figures() -> Iterable[Metric]:
    """The figures of this process' GPUs; none where there is no GPU, no driver or no library to ask it with."""
    gpus = _found()
    return gpus.families() if gpus else ()


@cache
def _found() -> Gpus | None:
    """Looked for once, at the first scrape: by then a process that starts others has done so."""
    try:
        import pynvml
    except ImportError as cause:
        log.info("no GPU figures: %s; pip install 'modelyard[gpu]'", cause)
        return None
    try:
        pynvml.nvmlInit()
        uuids = gpu_uuids()
    except (pynvml.NVMLError, RuntimeFailed) as cause:
        log.info("no GPU figures: %s", cause)
        return None
    if not uuids:
        log.info("no GPU figures: this process may use no GPU")
        return None
    return Gpus(pynvml, uuids)


def _empty(name: str, labels: Sequence[str], text: str) -> CounterMetricFamily | GaugeMetricFamily:
    if name.endswith("_total"):
        return CounterMetricFamily(name.removesuffix("_total"), text, labels=labels)
    return GaugeMetricFamily(name, text, labels=labels)
