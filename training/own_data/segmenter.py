"""`modelyard train segmenter --data FOLDER`: pictures and a mask each."""

from pathlib import Path

from training.architectures.unet import UnetConfig
from training.config import Augment, Optim, TrainConfig
from training.data.mask_folder import MaskFolder
from training.own_data.defaults import batch_size, describe, image_resize, num_epochs

LONGEST_PX = 256  # what two cores train in an hour; the mask is enlarged to the picture's own size anyway
STEPS = 3000


def segmenter(data: Path, name: str = "segmenter") -> TrainConfig:
    """Name every pixel: FOLDER/images/NAME.jpg with FOLDER/masks/NAME.png, whose values are class ids.

    Args:
        data: folder of images and masks, or of the parts train, val and test; classes.csv (id, name) names the ids
        name: name of the run, and later of the model
    """
    dataset = MaskFolder(folder=data.resolve())
    splits = dataset.load()
    size = batch_size(len(splits.train), 8)
    describe(splits)
    return TrainConfig(
        name=name,
        task="image-segmentation",
        data=dataset,
        preprocess=image_resize(splits.train, LONGEST_PX, 4),
        model=UnetConfig(),
        augment=Augment(flip=True, scale=(0.8, 1.8), brightness=0.3, contrast=0.3),
        optim=Optim(lr=4e-3),
        batch_size=size,
        num_epochs=num_epochs(len(splits.train), size, STEPS),
        patience_epochs=20,
        validation_share=0.15,
    )
