"""What one device does with a bundle at each setting, and the setting that was chosen for a limit: the tuning sidecar.

`modelyard tune` writes it beside the records of `bundle/engines.py` as `<device slug>.tune.json`, the service reads it.
It says how a model is served, never what it answers. A tuning of another bundle, another device or other versions of
the engines is never used.

Knows figures, files and the rule of choosing. Knows nothing of how anything is measured or served.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from bundle.device import DeviceInfo
from bundle.engines import engines_folder, read_document, write_document
from bundle.errors import BundleError
from bundle.manifest import digest_of
from bundle.spec import Sha256, Spec
from bundle.store import Bundle

ENDING = ".tune.json"
TIE = 0.97
"""Points within 3 % of the best are as good: measured again, either might come first."""


class Point(Spec):
    """One setting and what it gave, with every instance at work all the time."""

    artefact: str
    runtime: str
    """Key of RUNTIMES."""
    batch_size: int = Field(ge=1)
    instances: int = Field(ge=1)
    """Batches at once."""
    threads: int = Field(ge=1)
    """Processors for each of them; 1 on a GPU."""
    rows_per_s: float = Field(gt=0)
    batch_p50_ms: float = Field(gt=0)
    batch_p99_ms: float = Field(gt=0)
    request_p50_ms: float = Field(gt=0)
    """A request comes while a batch runs, waits for half of it, and runs in the next."""
    request_p99_ms: float = Field(gt=0)
    """A request has just missed a batch, waits for all of it, and runs in the next."""
    num_batches: int = Field(ge=1)
    """How many were timed."""

    def holds(self, p99_ms: float) -> bool:
        """Whether a request is answered within a limit."""
        return self.request_p99_ms <= p99_ms

    def __str__(self) -> str:
        """For a message."""
        size = f"batches of {self.batch_size}, {self.instances} at once on {self.threads} processor(s) each"
        return f"'{self.artefact}' in {self.runtime}, {size}"


class Tuning(Spec):
    """All points of one bundle on one device, and the chosen one."""

    schema_version: Literal[1] = 1
    bundle_digest: Sha256
    device: DeviceInfo
    runtimes: dict[str, str]
    """Versions of the engines that were measured."""
    p99_ms: float = Field(gt=0)
    """The limit that was asked for."""
    row_shapes: dict[str, tuple[int, ...]]
    """Of the golden rows that batches were made of, by input."""
    points: tuple[Point, ...] = Field(min_length=1)
    chosen: Point
    measured_with: dict[str, str]
    digest: str = ""
    """sha256 of this document without this field."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.chosen not in self.points:
            raise ValueError(f"the chosen point ({self.chosen}) is not one of those measured")
        unnamed = sorted({point.runtime for point in self.points} - self.runtimes.keys())
        if unnamed:
            raise ValueError(f"no version is given for {', '.join(unnamed)}")
        return self

    @property
    def holds(self) -> bool:
        """Whether the chosen point holds the limit; where none does, it is the nearest to it."""
        return self.chosen.holds(self.p99_ms)

    def sealed(self) -> Self:
        """The same with its digest filled in."""
        return self.model_copy(update={"digest": digest_of(self.model_dump(mode="json"))})


def best_point(points: Sequence[Point], p99_ms: float) -> Point:
    """The highest throughput within the limit; of those that tie, the smallest batch, then the fewest instances.

    Where none holds the limit: the lowest p99 of a request; of those that tie, the highest throughput.
    """
    holding = [point for point in points if point.holds(p99_ms)]
    if not holding:
        near = min(point.request_p99_ms for point in points) / TIE
        return max((point for point in points if point.holds(near)), key=lambda point: point.rows_per_s)
    enough = TIE * max(point.rows_per_s for point in holding)
    tied = [point for point in holding if point.rows_per_s >= enough]
    return min(tied, key=lambda point: (point.batch_size, point.instances, point.threads, -point.rows_per_s))


def tuning_path(bundle: Bundle, device: DeviceInfo, cache: Path | None = None) -> Path:
    """Where the tuning of a bundle on a device lies: in the bundle, or in a cache of the node's own."""
    return engines_folder(bundle, cache) / f"{device.slug}{ENDING}"


def write_tuning(bundle: Bundle, tuning: Tuning, cache: Path | None = None) -> Path:
    """Put a tuning in its place, whole or not at all; returns its path.

    Raises:
        BundleError: the folder cannot be written to.
    """
    return write_document(tuning_path(bundle, tuning.device, cache), tuning.sealed())


def read_tuning(
    bundle: Bundle, device: DeviceInfo, versions: Callable[[str], str | None], cache: Path | None = None
) -> Tuning | None:
    """The tuning of a bundle on this device; None where nobody has made one.

    `versions` gives the version of a runtime as it is installed here, or None.

    Raises:
        BundleError: it is damaged, or of another bundle, another device or another version of an engine.
    """
    path = tuning_path(bundle, device, cache)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # reading it says why
    again = "run `modelyard tune` again"
    tuning = read_document(path, Tuning, again)
    if tuning.bundle_digest != bundle.manifest.digest:
        raise BundleError(f"{path}: it was made for another bundle (digest {tuning.bundle_digest[:12]}); {again}")
    if tuning.device != device:
        raise BundleError(f"{path}: it was measured on {tuning.device}, this is {device}; {again}")
    for runtime, version in tuning.runtimes.items():
        installed = versions(runtime)
        if installed != version:
            here = "is not installed" if installed is None else f"is {installed}"
            raise BundleError(f"{path}: it was measured with {runtime} {version}, which {here} here; {again}")
    return tuning
