"""The module that is trained, proven and exported: prepared rows in, the task's output tensors out.

Casting, layout change, normalisation and the numeric tail are in it, so no engine and no caller can skip them.
Knows torch. Knows nothing of data sets or losses.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bundle.preprocess import Preprocess

Inputs = tuple[torch.Tensor, ...]
"""One batch, in the order of the preprocessing's `input_specs()`."""


class ImageStem(nn.Module):
    """uint8 [batch, height, width, channels] -> float [batch, channels, height, width], normalised a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, inputs: Inputs) -> None:
        """Take mean and standard deviation (of 0..255) from training pictures."""
        (images_NHWC,) = inputs
        for channel in range(images_NHWC.shape[-1]):
            pixels = images_NHWC[..., channel].float()
            self.mean[channel] = pixels.mean()
            self.std[channel] = pixels.std().clamp_min(1.0)  # a constant channel stays finite

    def forward(self, image_NHWC: torch.Tensor) -> Inputs:
        """Cast first: TensorRT takes uint8 only as the input of a cast.

        Whole rows of pixels are normalised at once: engines are slow at stretching three values over a picture.
        """
        width, channels = image_NHWC.shape[2:]
        rows = image_NHWC.float().flatten(2)
        normal = (rows - self.mean.repeat(width)) / self.std.repeat(width)
        return (normal.unflatten(2, (width, channels)).permute(0, 3, 1, 2),)


class SeriesStem(nn.Module):
    """float [batch, steps] -> the same, by one mean and one standard deviation of all training values."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def fit(self, inputs: Inputs) -> None:
        """Take mean and standard deviation from training series."""
        self.mean.copy_(inputs[0].mean())
        self.std.copy_(inputs[0].std().clamp_min(torch.finfo(torch.float32).tiny))  # a constant series stays finite

    def forward(self, series: torch.Tensor) -> Inputs:
        """Normalise."""
        return ((series - self.mean) / self.std,)


class TokenStem(nn.Module):
    """Token ids and their mask, as they are: what to make of them is the network's matter."""

    def fit(self, inputs: Inputs) -> None:
        """Nothing to learn."""

    def forward(self, *tokens: torch.Tensor) -> Inputs:
        """int64 [batch, tokens] each."""
        return tokens


Stem = ImageStem | SeriesStem | TokenStem

STEMS: dict[str, Callable[[Any], Stem]] = {
    "image-resize": lambda preprocess: ImageStem(preprocess.channels),
    "series": lambda _: SeriesStem(),
    "text-tokens": lambda _: TokenStem(),
}
"""By kind of preprocessing."""


def new_stem(preprocess: Preprocess) -> Stem:
    """What makes a network's floats of prepared rows; `fit` it on training inputs."""
    return STEMS[preprocess.kind](preprocess)


class Graph(nn.Module):
    """stem -> network -> numeric tail; in training the augmentation goes between stem and network."""

    def __init__(self, stem: Stem, network: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.stem: Stem = stem
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # the stem's layout; a third faster on CPUs
        self.tail = tail

    def logits(self, inputs: Inputs) -> Any:
        """What the loss sees: a tensor, or what else the network gives."""
        return self.network(*self.stem(*inputs))

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What is served: one tensor, or a tuple in the order of the task's output specs."""
        return self.tail(self.logits(inputs))
