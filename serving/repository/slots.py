"""One version of a model in this process: its state, why, and what answers; and how that is shown to everybody.

Knows states. Knows nothing of how they come about.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bundle.golden import Golden
from bundle.store import MANIFEST_FILE
from serving.repository.model_settings import FILE as SETTINGS_FILE
from serving.repository.scan import Fingerprint, Found
from serving.repository.served import ServedModel

State = Literal["loading", "ready", "draining", "unloaded", "refused"]

LOADING = "it is being loaded and proven"


@dataclass(frozen=True)
class ModelState:
    """One model version and whether it answers."""

    name: str
    version: int
    state: State
    reason: str = ""
    """Why it does not answer, or what else is to be known of it; empty when there is nothing to say."""
    served: ServedModel | None = None
    """There when ready."""


@dataclass
class Health:
    """What the last golden inferences of one version said."""

    num_failures: int = 0
    """In a row."""
    reason: str = ""
    looking: bool = False
    asking: "asyncio.Task[str | None] | None" = None
    """One that has not come back; there is never a second."""
    queued: bool = False
    """Whether that one found room in the queue."""


@dataclass(frozen=True)
class Proven:
    """A version that gave its golden answers and may take traffic."""

    served: ServedModel
    golden: Golden
    """One sample to ask again while it runs, with its outputs on this machine; the folder may be gone by then."""
    health: Health = field(default_factory=Health)


@dataclass
class Slot:
    """One version that this process has to do with."""

    version: int
    state: State = "loading"
    reason: str = LOADING
    proven: Proven | None = None
    seen: Fingerprint | None = None
    """What its folder looked like when it was last tried; None for one that never was."""
    tried_at: float = 0.0
    num_draining: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it answers or drains."""
        return self.proven is None and not self.num_draining

    def shown(self, name: str, also: str) -> ModelState:
        """As everybody sees it; `also` is to be known of every version that answers."""
        if self.proven is None:
            return ModelState(name, self.version, self.state, self.reason)
        reason = "; ".join(filter(None, (self.reason, also)))
        return ModelState(name, self.version, self.state, reason, self.proven.served)


def not_there(model: Path, version: int) -> Slot:
    """A version that the settings name and nobody has put there."""
    return Slot(version, "refused", f"{model / str(version)}: {SETTINGS_FILE} names this version, and it is not there")


def unreadable(found: Found, problem: str) -> Slot:
    """What stands for a model whose settings nobody can read: they might say which version is to answer."""
    return Slot(max(found.versions, default=max(found.unfinished, default=0)), "refused", problem)


def no_bundle(model: Path, version: int) -> Slot:
    """What stands for a model without any bundle; version 0 where there is not even an unfinished one."""
    if version:
        reason = f"{model / str(version)}: no {MANIFEST_FILE}; this is not a bundle, or not a whole one yet"
    else:
        reason = f"{model}: it holds no version: a folder whose name is a positive integer"
    return Slot(version, "refused", reason)
