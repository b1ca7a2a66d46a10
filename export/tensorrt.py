"""model.onnx -> a serialized TensorRT engine, on the GPU that it is for.

The TensorRT module is an argument: `tensorrt` on a machine with a GPU; tests build every graph with `tensorrt_rtx`,
which needs none. Precision is what the file says (strongly typed; TF32 off, so fp32 is fp32). Knows TensorRT's builder.
Knows nothing of bundles, proof or how an engine is run.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bundle.errors import RuntimeFailed
from export.engine_profiles import Profile, check_profile
from export.tensorrt_errors import build_error, listener, parse_error
from export.timing_cache import USED, use_timing_cache, write_timing_cache

MIB = 1 << 20
MAX_OPTIMISATION_LEVEL = 5

HardwareCompatibility = Literal["none", "same-compute-capability", "ampere-plus"]
LEVELS: dict[HardwareCompatibility, str] = {
    "none": "NONE",
    "same-compute-capability": "SAME_COMPUTE_CAPABILITY",
    "ampere-plus": "AMPERE_PLUS",
}
"""Which other GPUs a plan may run on -> TensorRT's name for it."""


@dataclass(frozen=True)
class BuildOptions:
    """What the builder may use, and whom the plan is for."""

    workspace_mib: int | None = None
    """Scratch memory of a layer; None: all of the GPU's."""
    hardware_compatibility: HardwareCompatibility = "none"
    optimisation_level: int = 3
    """0 builds fastest, 5 searches longest for fast kernels."""
    timing_cache: Path | None = None
    """File of kernel timings: read where it is there, written back after each build."""

    def __post_init__(self) -> None:
        if not 0 <= self.optimisation_level <= MAX_OPTIMISATION_LEVEL:
            raise RuntimeFailed(
                f"optimisation level {self.optimisation_level} is not one of 0 to {MAX_OPTIMISATION_LEVEL}"
            )
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise RuntimeFailed(f"a workspace of {self.workspace_mib} MiB builds nothing; give it 1 MiB or more")


@dataclass(frozen=True)
class Plan:
    """A serialized engine, and how it was built, for people."""

    content: bytes
    built_with: dict[str, str]


def build_plan(trt: Any, path: Path, profiles: list[Profile], options: BuildOptions | None = None) -> Plan:
    """Build one graph for some profiles.

    Raises:
        RuntimeFailed: names the node, the layer it came from, TensorRT's reason, and what to do.
    """
    options = options or BuildOptions()
    if not path.is_file():
        raise RuntimeFailed(f"{path}: no such file to build an engine from")
    start = time.perf_counter()
    build = _Build(trt, path, options)
    network = build.read()
    config = build.configure(network, profiles)
    cache = use_timing_cache(config, options.timing_cache) if options.timing_cache else "none"
    content = build.run(network, config)
    if options.timing_cache and cache == USED:
        cache = write_timing_cache(config, options.timing_cache)
    told = {
        "profiles": "; ".join(_brief(profile) for profile in profiles),
        "workspace": f"{options.workspace_mib} MiB" if options.workspace_mib else "all memory",
        "hardware_compatibility": options.hardware_compatibility,
        "optimisation_level": str(options.optimisation_level),
        "tf32": "off",
        "timing_cache": cache,
        "seconds": f"{time.perf_counter() - start:.1f}",
    }
    return Plan(content, told)


def _brief(profile: Profile) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, sizes))}" for name, sizes in profile.items())


class _Build:
    """One build: the objects that live as long, and one way to fail."""

    def __init__(self, trt: Any, path: Path, options: BuildOptions) -> None:
        self.trt, self.path, self.options = trt, path, options
        self.name = f"TensorRT {trt.__version__}" if trt.__name__ == "tensorrt" else f"{trt.__name__} {trt.__version__}"
        self.log = listener(trt)
        self.log.forget()
        try:
            self.builder = trt.Builder(self.log.logger)
        except TypeError:  # pybind11's word for a null builder
            raise self._failed("cannot start: it finds no GPU or no driver that it can use") from None

    def _failed(self, what: str) -> RuntimeFailed:
        return build_error(self.path, self.name, what, self.log.messages())

    def read(self) -> Any:
        """The network of the file."""
        trt = self.trt
        network = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        if network is None:
            raise self._failed("makes no network")
        self.parser = trt.OnnxParser(network, self.log.logger)  # it owns the weights until the engine is built
        if not self.parser.parse_from_file(str(self.path)):
            errors = [self.parser.get_error(i) for i in range(self.parser.num_errors)]
            raise parse_error(self.path, self.name, errors, self.log.messages())
        if not network.num_outputs:  # also what it makes of a file that is no ONNX at all
            raise build_error(self.path, self.name, "cannot read the graph", ["Network must have at least one output"])
        return network

    def configure(self, network: Any, profiles: list[Profile]) -> Any:
        """The builder's configuration with every profile in it."""
        trt, options = self.trt, self.options
        config = self.builder.create_builder_config()
        if config is None:
            raise self._failed("makes no configuration")
        config.clear_flag(trt.BuilderFlag.TF32)  # ten bits of mantissa are not the fp32 that was proven
        config.builder_optimization_level = options.optimisation_level
        if config.builder_optimization_level != options.optimisation_level:
            raise self._failed(f"does not take optimisation level {options.optimisation_level}")
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
        self._set_compatibility(config)
        inputs = {tensor.name: tuple(tensor.shape) for tensor in map(network.get_input, range(network.num_inputs))}
        for profile in profiles:
            self._add_profile(config, profile, inputs)
        return config

    def _set_compatibility(self, config: Any) -> None:
        wanted = self.options.hardware_compatibility
        if wanted == "none":
            return
        level = getattr(self.trt.HardwareCompatibilityLevel, LEVELS[wanted])
        config.hardware_compatibility_level = level
        if config.hardware_compatibility_level != level:
            raise self._failed(f"does not take hardware compatibility '{wanted}'")

    def _add_profile(self, config: Any, profile: Profile, inputs: dict[str, tuple[int, ...]]) -> None:
        try:
            check_profile(profile, inputs)
        except RuntimeFailed as cause:
            raise RuntimeFailed(f"{self.path}: {cause}") from None
        made = self.builder.create_optimization_profile()
        if made is None:
            raise self._failed("makes no optimisation profile")
        for name, sizes in profile.items():
            shapes = [tuple(getattr(size, end) for size in sizes) for end in ("least", "best", "most")]
            made.set_shape(name, *shapes)
            if [tuple(shape) for shape in made.get_shape(name)] != shapes:  # it returns nothing, whatever it did
                raise self._failed(f"does not take the profile {_brief({name: sizes})}")
        if config.add_optimization_profile(made) < 0:
            raise self._failed(f"does not take the profile {_brief(profile)}")

    def run(self, network: Any, config: Any) -> bytes:
        """Search for kernels: seconds to many minutes."""
        plan = self.builder.build_serialized_network(network, config)
        if plan is None:
            raise self._failed("cannot build the engine")
        return bytes(plan)
