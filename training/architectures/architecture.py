"""What every architecture's configuration can do: build the network, and give a tiny one for the conformance tests."""

from abc import abstractmethod
from typing import Self

from torch import nn

from bundle.spec import Spec


class ArchitectureConfig(Spec):
    """Sizes of a network; subclasses set `architecture` to their key in ARCHITECTURES."""

    architecture: str

    @abstractmethod
    def build(self, in_channels: int, num_outputs: int) -> nn.Module:
        """A network with fresh weights: float [batch, in_channels, height, width] -> logits [batch, num_outputs]."""

    @classmethod
    @abstractmethod
    def tiny(cls) -> Self:
        """The smallest sensible size, for tests that run over every architecture."""
