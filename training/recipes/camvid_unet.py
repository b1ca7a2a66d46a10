"""A U-Net on CamVid, from scratch: zoomed, mirrored and re-lit road scenes."""

from bundle.preprocess import ImageResize
from training.architectures.unet import UnetConfig
from training.config import Augment, Optim, TrainConfig
from training.data.camvid import CamVid


def camvid_unet() -> TrainConfig:
    """Road scenes, 240x180, 11 classes; about half an hour on two cores."""
    return TrainConfig(
        name="camvid_unet",
        task="image-segmentation",
        data=CamVid(),
        preprocess=ImageResize(height_px=180, width_px=240),
        model=UnetConfig(channels=(16, 48, 96, 128, 160), dropout=0.1),
        augment=Augment(flip=True, scale=(0.8, 1.8), brightness=0.5, contrast=0.3),
        optim=Optim(lr=4e-3),
        batch_size=8,
        num_epochs=60,
        patience_epochs=60,
    )
