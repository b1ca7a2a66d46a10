"""A small CNN on scikit-learn's 8x8 digits: the model that needs no download and trains in seconds."""

from bundle.preprocess import ImageResize
from training.architectures.cnn import CnnConfig
from training.config import Augment, Optim, TrainConfig
from training.data.digits import Digits


def digits_cnn() -> TrainConfig:
    """Handwritten digits, 8x8 grey, 10 classes; seconds on two cores."""
    return TrainConfig(
        name="digits_cnn",
        task="image-classification",
        data=Digits(),
        preprocess=ImageResize(height_px=8, width_px=8, color="grey"),
        model=CnnConfig(channels=(32, 64), dropout=0.2),
        augment=Augment(shift_px=1),
        optim=Optim(lr=1e-2),
        batch_size=64,
        num_epochs=30,
        patience_epochs=30,
    )
