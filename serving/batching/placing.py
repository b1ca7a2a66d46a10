"""Where models run: on which devices, with how many batches at once on each, and what is preferred there.

The service's settings say it for all models, a model's serving.toml for that one. Knows settings, placements and what
devices are called. Knows nothing of engines, bundles or queues.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from bundle.device import DeviceInfo
from bundle.errors import BadInput, RuntimeFailed
from runtime.choice import ANYTHING, Wanted
from runtime.devices import device_info, installed_version
from runtime.proofs import Versions
from runtime.runtime import ON_CPU, Placement
from serving.repository.model_settings import Gpus, ModelSettings
from serving.settings import Settings

MIB = 2**20


@dataclass(frozen=True)
class Devices:
    """How this process gets to know its devices and what is installed for them."""

    info: Callable[[Placement], DeviceInfo] = device_info
    version: Versions = installed_version

    def all_gpus(self) -> tuple[int, ...]:
        """The indices of every GPU that this process may use.

        Raises:
            RuntimeFailed: there is none.
        """
        self.info(Placement("cuda", 0))
        number = 1
        while self._has_gpu(number):
            number += 1
        return tuple(range(number))

    def _has_gpu(self, index: int) -> bool:
        try:
            self.info(Placement("cuda", index))
        except RuntimeFailed:
            return False
        return True


DEVICES = Devices()


@dataclass(frozen=True)
class Placed:
    """Where one model runs."""

    device: DeviceInfo
    """What all its placements are."""
    placements: tuple[Placement, ...]
    """One, on a CPU; one a GPU."""
    wanted: Wanted

    @property
    def is_gpu(self) -> bool:
        """Whether batches leave the processors."""
        return self.device.kind == "cuda"

    @property
    def slots(self) -> int:
        """Most batches that are on GPUs at once."""
        return sum(one.slots for one in self.placements)


@dataclass(frozen=True)
class Placing:
    """Where models run that say nothing themselves."""

    placement: Placement = ON_CPU
    """As it is for every GPU, but for the index."""
    gpus: Gpus = (0,)
    cuda_graphs: bool = False
    wanted: Wanted = ANYTHING
    devices: Devices = DEVICES

    def of(self, settings: ModelSettings) -> Placed:
        """Where a model with these settings runs.

        Raises:
            RuntimeFailed: there is no such GPU, or its GPUs are of unlike kinds.
        """
        wanted = replace(
            self.wanted,
            runtime=settings.runtime or self.wanted.runtime,
            precision=settings.precision or self.wanted.precision,
            artefact=settings.artefact,
            require_engine=self.wanted.require_engine if settings.require_engine is None else settings.require_engine,
        )
        if self.placement.device == "cpu":
            return Placed(self.devices.info(self.placement), (self.placement,), wanted)
        slots = settings.gpu_instances or self.placement.slots
        placements = [replace(self.placement, index=i, slots=slots) for i in self._indices(settings.gpus or self.gpus)]
        kinds = {str(one): self.devices.info(one) for one in placements}
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{where} is {kind}" for where, kind in kinds.items())
            raise RuntimeFailed(f"a model runs on GPUs of one kind, and {told}; name those of one kind (--gpus)")
        return Placed(next(iter(kinds.values())), tuple(placements), wanted)

    def num_lanes(self, threads: int) -> int:
        """Threads that prepare inputs and run models.

        One that waits for a GPU burns no processor, so as many as batches may be on GPUs come on top. Several models
        may have more batches under way than that: then GPUs are what all wait for, and preparing has time.
        """
        if self.placement.device == "cpu":
            return threads
        try:
            number = len(self._indices(self.gpus))
        except RuntimeFailed:  # every model is going to be refused with this reason
            number = 1
        return threads + number * self.placement.slots

    def _indices(self, gpus: Gpus) -> tuple[int, ...]:
        return self.devices.all_gpus() if gpus == "all" else gpus


def placing_of(settings: Settings, devices: Devices = DEVICES) -> Placing:
    """What the service's settings say; no device is asked yet.

    Raises:
        BadInput: settings that contradict each other.
    """
    problem = _contradiction(settings)
    if problem:
        raise BadInput(problem)
    gpus: Gpus = "all" if settings.gpus == "all" else tuple(map(int, settings.gpus.split(",")))
    if gpus != "all" and len(set(gpus)) < len(gpus):
        raise BadInput(
            f"--gpus {settings.gpus} names a GPU twice; --gpu-instances sets how many batches it gets at once"
        )
    return Placing(
        placement=Placement(
            device=settings.device,
            memory_bytes=settings.gpu_memory_mib * MIB if settings.gpu_memory_mib else None,
            slots=settings.gpu_instances if settings.device == "cuda" else 1,
        ),
        gpus=gpus,
        cuda_graphs=settings.cuda_graphs,
        wanted=Wanted(
            runtime=settings.runtime,
            precision=settings.precision,
            require_engine=settings.require_engine,
            engines=settings.engines.absolute() if settings.engines else None,
        ),
        devices=devices,
    )


def _contradiction(settings: Settings) -> str:
    if settings.require_engine and settings.runtime == "onnxruntime":
        return "--require-engine asks for a TensorRT engine and --runtime onnxruntime for none; leave one of them out"
    if settings.device == "cuda":
        return ""
    for_gpus = {
        "--require-engine": settings.require_engine,
        "--runtime tensorrt": settings.runtime == "tensorrt",
        f"--gpus {settings.gpus}": settings.gpus != "0",
        f"--gpu-memory-mib {settings.gpu_memory_mib}": settings.gpu_memory_mib is not None,
        "--cuda-graphs": settings.cuda_graphs,
    }
    asked = [flag for flag, given in for_gpus.items() if given]
    return f"{', '.join(asked)}: only with --device cuda; this service is to run on the CPU" if asked else ""
