"""A small U-Net on generated shapes: the segmentation model that needs no download."""

from bundle.preprocess import ImageResize
from training.architectures.unet import UnetConfig
from training.config import Augment, Optim, TrainConfig
from training.data.shapes import ShapesMasks


def shapes_unet() -> TrainConfig:
    """Circles, squares and triangles, 64x64, the ground and 3 classes; under half a minute on two cores."""
    return TrainConfig(
        name="shapes_unet",
        task="image-segmentation",
        data=ShapesMasks(num_train=1000, num_test=100, height_px=64, width_px=64),
        preprocess=ImageResize(height_px=64, width_px=64),
        model=UnetConfig(channels=(16, 32, 64, 96), dropout=0.0),
        augment=Augment(flip=True),
        optim=Optim(lr=6e-3),
        batch_size=8,
        num_epochs=5,
        patience_epochs=7,
    )
