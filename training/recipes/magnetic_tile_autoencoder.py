"""A convolutional autoencoder on magnetic tiles: the baseline that a better method must beat."""

from bundle.preprocess import ImageResize
from training.architectures.conv_autoencoder import ConvAutoencoderConfig
from training.config import Augment, Optim, TrainConfig
from training.data.magnetic_tile import MagneticTile


def magnetic_tile_autoencoder() -> TrainConfig:
    """Magnetic tiles, 128x128 grey, trained on good ones alone; about two minutes."""
    return TrainConfig(
        name="magnetic_tile_autoencoder",
        task="anomaly-detection",
        data=MagneticTile(),
        preprocess=ImageResize(height_px=128, width_px=128, color="grey"),
        model=ConvAutoencoderConfig(channels=(16, 32, 64, 32, 8)),
        augment=Augment(flip=True, flip_vertical=True),
        optim=Optim(lr=3e-3, weight_decay=0.01),
        batch_size=16,
        num_epochs=80,
        patience_epochs=80,
    )
