"""What all models of a repository share: where they lie, how they are built, by which threads, and who is told.

Knows nothing of any one model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.choice import Choice
from serving.repository.bring_up import Serve
from serving.repository.hands import Hands


class RepositoryMetrics(Protocol):
    """What is counted of the lives of models."""

    def model_ready(self, model: str, version: int, ready: bool) -> None:
        """A version answers, or does so no longer."""

    def load_failure(self, model: str) -> None:
        """A version was refused."""

    def model_runs(self, model: str, version: int, choice: Choice) -> None:
        """What a version that answers runs as."""

    def repository_readable(self, readable: bool) -> None:
        """Whether the last look at the folder could read it."""

    def forget(self, name: str, version: int) -> None:
        """A version is gone for good."""


@dataclass(frozen=True)
class Yard:
    """What all models share."""

    folder: Path
    serve: Serve
    hands: Hands
    metrics: RepositoryMetrics
    changed: Callable[[], None]
    """Publishes what is served now, in one assignment; called after every change."""
    device_lost: Callable[[str], None]
    """Nothing on some device answers again in this process, and why."""
