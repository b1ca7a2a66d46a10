"""What lies beside a bundle, by its worth on a device: proofs that may be followed, and what is wrong with others.

Knows records and plans. Knows nothing of what is preferred, nor of how anything is loaded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.device import DeviceInfo
from bundle.engines import EngineRecord, engines_folder, plan_path, read_records
from bundle.errors import BundleError
from bundle.store import Bundle

Versions = Callable[[str], str | None]
"""Runtime -> its version as it is installed here, or None where it is not."""


@dataclass(frozen=True)
class Failure:
    """One artefact in one runtime that did not do, when it was loaded, what it should."""

    artefact: str
    runtime: str
    record: EngineRecord | None
    """The proof that it had on this device. A newer one may be followed again."""
    why: str

    @property
    def what(self) -> tuple[str, str]:
        """The artefact and the runtime."""
        return self.artefact, self.runtime

    def __str__(self) -> str:
        """For a message."""
        return f"'{self.artefact}' in {self.runtime} cannot be used: {self.why}"


@dataclass(frozen=True)
class Proofs:
    """All that lies there."""

    usable: list[EngineRecord]
    failures: list[str]
    """What could be used, had it not failed."""
    broken: list[str]
    """What is wrong with those that nobody can use, or that are of this device and yet not usable."""
    elsewhere: list[str]
    """Engines of other devices."""

    @property
    def amiss(self) -> list[str]:
        """What is wrong with all that is not used, a line each."""
        return [*self.failures, *self.broken, *self.elsewhere]


def read_proofs(
    bundle: Bundle, device: DeviceInfo, engines: Path | None, versions: Versions, without: Sequence[Failure] = ()
) -> Proofs:
    """Read and sort them; a proof is of one version of its runtime, which must be installed."""
    records, broken = read_records(bundle, engines)
    failed = [one.record for one in without]
    failures = [str(one) for one in without if one.record is None or one.record in records]
    fitting = [one for one in records if one.device == device and one.runtime_version == versions(one.runtime)]
    usable = []
    for record in fitting:
        if record in failed:
            continue
        if record.file is not None:
            try:
                plan_path(engines_folder(bundle, engines), record)
            except BundleError as cause:
                broken.append(str(cause))
                continue
        usable.append(record)
    known = {(one.artefact, one.runtime) for one in usable}
    elsewhere = []
    for record in records:
        what = f"'{record.artefact}' in {record.runtime} {record.runtime_version} for {record.device}"
        if record.device != device:
            elsewhere += [f"{what} is not used on {device}"] * (record.runtime == "tensorrt")
        elif record.runtime_version != versions(record.runtime) and (record.artefact, record.runtime) not in known:
            installed = versions(record.runtime) or "(not installed)"
            broken.append(f"{what} is not used with {record.runtime} {installed}")
    return Proofs(usable, failures, broken, elsewhere)
