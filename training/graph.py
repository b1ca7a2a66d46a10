"""The module that is trained, proven and exported: uint8 pixels in, the task's output tensors out.

Casting, layout change, normalisation and the numeric tail are in it, so no engine and no caller can skip them.
Knows torch. Knows nothing of data sets or losses.
"""

import torch
from torch import nn


class ImageStem(nn.Module):
    """uint8 [batch, height, width, channels] -> float [batch, channels, height, width], normalised a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, images_NHWC: torch.Tensor) -> None:
        """Take mean and standard deviation (of 0..255) from training pictures."""
        for channel in range(images_NHWC.shape[-1]):
            pixels = images_NHWC[..., channel].float()
            self.mean[channel] = pixels.mean()
            self.std[channel] = pixels.std().clamp_min(1.0)  # a constant channel stays finite

    def forward(self, image_NHWC: torch.Tensor) -> torch.Tensor:
        """Cast first: TensorRT takes uint8 only as the input of a cast."""
        batch_NCHW = image_NHWC.float().permute(0, 3, 1, 2)
        return (batch_NCHW - self.mean[:, None, None]) / self.std[:, None, None]


class Graph(nn.Module):
    """stem -> network -> numeric tail; in training the augmentation goes between stem and network."""

    def __init__(self, stem: ImageStem, network: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # the stem's layout; a third faster on CPUs
        self.tail = tail

    def logits(self, image_NHWC: torch.Tensor, augment: nn.Module | None = None) -> torch.Tensor:
        """What the loss sees."""
        batch_NCHW = self.stem(image_NHWC)
        return self.network(batch_NCHW if augment is None else augment(batch_NCHW))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """What is served."""
        return self.tail(self.logits(image))
