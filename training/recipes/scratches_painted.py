"""A small network that marks painted defects, on generated brushed metal: the anomaly demo."""

from bundle.preprocess import ImageResize
from training.architectures.defect_fpn import DefectFpnConfig
from training.config import Augment, Optim, TrainConfig
from training.data.scratches import Scratches


def scratches_painted() -> TrainConfig:
    """Generated brushed metal, 64x64 grey, trained on good ones with painted defects; half a minute."""
    return TrainConfig(
        name="scratches_painted",
        task="anomaly-detection",
        data=Scratches(),
        preprocess=ImageResize(height_px=64, width_px=64, color="grey"),
        model=DefectFpnConfig(channels=(12, 16, 32, 48), pyramid_channels=16),
        augment=Augment(flip=True, flip_vertical=True, defects=0.6),
        optim=Optim(lr=5e-3, weight_decay=0.01),
        batch_size=25,
        num_epochs=16,
        patience_epochs=16,
    )
