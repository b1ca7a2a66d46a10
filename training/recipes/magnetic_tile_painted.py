"""A network that learns to mark defects painted on good magnetic tiles."""

from bundle.preprocess import ImageResize
from training.architectures.defect_fpn import DefectFpnConfig
from training.config import Augment, Optim, TrainConfig
from training.data.magnetic_tile import MagneticTile


def magnetic_tile_painted() -> TrainConfig:
    """Magnetic tiles, 192x192 grey, trained on good ones with painted defects; about six minutes."""
    return TrainConfig(
        name="magnetic_tile_painted",
        task="anomaly-detection",
        data=MagneticTile(),
        preprocess=ImageResize(height_px=192, width_px=192, color="grey"),
        model=DefectFpnConfig(channels=(16, 24, 48, 64, 96), pyramid_channels=24),
        augment=Augment(flip=True, flip_vertical=True, shift_px=8, scale=(0.87, 1.15), contrast=0.2, defects=0.6),
        optim=Optim(lr=3e-3, weight_decay=0.01),
        batch_size=16,
        num_epochs=80,
        patience_epochs=80,
    )
