"""Settings of one model: `<repository>/<name>/serving.toml`, beside its versions; what is left out is the service's.

They say how a model is served, never what it answers: the bundle alone decides that. Knows values and ranges. Knows
nothing of how they are used.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from bundle.errors import BundleError
from bundle.spec import Spec, problems
from runtime.choice import PrecisionWanted, RuntimeWanted

FILE = "serving.toml"

Layout = Literal["auto", "throughput", "latency"]
Gpus = tuple[int, ...] | Literal["all"]
"""Indices of GPUs, as CUDA numbers those that the process may see."""


class Latest(Spec):
    """Serve the N newest versions."""

    latest: int = Field(ge=1)


class Specific(Spec):
    """Serve these versions and no others."""

    specific: tuple[int, ...] = Field(min_length=1)


VersionPolicy = Latest | Specific | Literal["all"]


class CanarySettings(Spec):
    """Another version that a share of the requests is asked of too; answers never come from it."""

    version: int | Literal["next"] = "next"
    """Which, or "next": whatever newer version appears while the service runs."""
    share: float = Field(default=0.05, gt=0, le=1)
    """Part of the requests that are compared."""


class ModelSettings(Spec):
    """How one model is served."""

    max_batch_size: int | None = Field(default=None, ge=1)
    """Most inputs that run together; never more than the bundle's evidence covers."""
    max_queue_delay_ms: float = Field(default=0.0, ge=0, le=10_000)
    """How long an input may wait for company; 0: a batch is what queued while the one before it ran."""
    max_queue: int | None = Field(default=None, ge=1)
    """Inputs that may wait; one more is refused."""
    instances: int | None = Field(default=None, ge=1)
    """Most batches that run at once; never more than there are processors, or places on GPUs."""
    threads: int | None = Field(default=None, ge=1)
    """Processors for a batch that has the machine for itself."""
    layout: Layout | None = None
    """throughput: a processor a batch; latency: all processors for one; auto: by load and the latency table."""
    runtime: RuntimeWanted | None = None
    """Which engine runs it; auto: the fastest whose proof holds on this device."""
    precision: PrecisionWanted | None = None
    """Which precision runs; one that the model lacks is replaced, and that is told."""
    artefact: str | None = None
    """Exactly this artefact; the model is refused where it cannot run."""
    require_engine: bool | None = None
    """Refuse the model where it has no TensorRT engine for this GPU."""
    gpus: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | Literal["all"] | None = None
    """Which GPUs it is placed on: `[0, 1]` or `"all"`."""
    gpu_instances: int | None = Field(default=None, ge=1, le=64)
    """Its batches that are on a GPU at once."""
    timeout_ms: float | None = Field(default=None, gt=0)
    """How long a request may take that does not say so itself."""
    version_policy: VersionPolicy = Latest(latest=1)
    """Which versions answer: `{latest = N}`, `{specific = [1, 3]}` or `"all"`; where none is asked for, the newest."""
    canary: CanarySettings | None = None
    """`{version = 3, share = 0.1}`, or `{version = "next"}`."""


def read_model_settings(model: Path) -> ModelSettings:
    """The settings of a model; `model` is `<repository>/<name>`.

    Raises:
        BundleError: the file is not TOML, has an unknown key or a value that is not allowed.
    """
    path = model / FILE
    try:
        return ModelSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ModelSettings()
    except ValidationError as cause:
        raise BundleError(f"{path}: {problems(cause)}") from None
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as cause:
        raise BundleError(f"{path}: cannot be read: {cause}") from None
