"""A small U-Net on generated shapes: the segmentation model that needs no download."""

from bundle.preprocess import ImageResize
from training.architectures.unet import UnetConfig
from training.config import Augment, Optim, TrainConfig
from training.data.shapes import ShapesMasks


def shapes_unet() -> TrainConfig:
    """Circles, squares and triangles, 96x96, the ground and 3 classes; under half a minute on two cores."""
    return TrainConfig(
        name="shapes_unet",
        task="image-segmentation",
        data=ShapesMasks(num_train=600, num_test=100),
        preprocess=ImageResize(height_px=96, width_px=96),
        model=UnetConfig(channels=(16, 24, 32, 48), dropout=0.0),
        augment=Augment(flip=True, flip_vertical=True),
        optim=Optim(lr=1e-2),
        batch_size=16,
        num_epochs=8,
        patience_epochs=8,
    )
