"""The same detector, smaller, on generated scenes: the one that needs no download and trains in seconds."""

from bundle.preprocess import ImageResize
from training.architectures.fcos import FcosConfig
from training.config import Augment, Optim, TrainConfig
from training.data.shapes import ShapesBoxes


def shapes_detector() -> TrainConfig:
    """Circles, squares and triangles, 96x96, 3 labels; about half a minute of one core."""
    return TrainConfig(
        name="shapes_detector",
        task="object-detection",
        data=ShapesBoxes(num_train=700),
        preprocess=ImageResize(height_px=96, width_px=96),
        model=FcosConfig(channels=(16, 24, 48, 64), depths=(0, 1, 1, 1), neck_channels=48, head_depth=1),
        augment=Augment(flip=True, flip_vertical=True),
        optim=Optim(lr=3e-3),
        batch_size=16,
        num_epochs=7,
        gradient_clip_norm=10.0,
    )
