"""What every architecture's configuration can do: build the network, and give a tiny one for the conformance tests."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

from torch import nn

from bundle.spec import Spec


class ArchitectureConfig(Spec):
    """Sizes of a network; subclasses set `architecture` to their key in ARCHITECTURES."""

    architecture: str
    tasks: ClassVar[tuple[str, ...]]
    """Task ids whose losses and tails take what this network gives."""

    @abstractmethod
    def build(self, preprocess: Any, num_outputs: int) -> nn.Module:
        """A network with fresh weights, for what `preprocess` and the stem of its kind feed it."""

    @classmethod
    @abstractmethod
    def tiny(cls) -> Self:
        """The smallest sensible size, for tests that run over every architecture."""
