"""`modelyard train image_classifier --data FOLDER`: a folder of pictures for each label."""

from pathlib import Path

from training.architectures.cnn import CnnConfig
from training.config import Augment, Optim, TrainConfig
from training.data.image_folder import ImageFolder
from training.own_data.defaults import batch_size, describe, image_resize, is_unbalanced, num_epochs

LONGEST_PX = 96  # a CNN from scratch on two cores: larger pictures cost more than they bring
SMALL_PX = 40  # up to here three stages see the whole picture
STEPS = 2000


def image_classifier(data: Path, name: str = "image_classifier") -> TrainConfig:
    """Classify pictures: FOLDER/<label>/<picture>, or FOLDER/train/<label>/... with FOLDER/test and FOLDER/val.

    Args:
        data: folder of pictures
        name: name of the run, and later of the model
    """
    dataset = ImageFolder(folder=data.resolve())
    splits = dataset.load()
    preprocess = image_resize(splits.train, LONGEST_PX, 8)
    small = max(preprocess.height_px, preprocess.width_px) <= SMALL_PX
    size = batch_size(len(splits.train), 64)
    unbalanced = is_unbalanced(splits.train)
    describe(splits, ["the labels are unbalanced: rare ones are drawn more often"] if unbalanced else [])
    return TrainConfig(
        name=name,
        task="image-classification",
        data=dataset,
        preprocess=preprocess,
        model=CnnConfig(channels=(32, 64, 128) if small else (24, 48, 96, 192)),
        augment=Augment(
            shift_px=max(1, preprocess.width_px // 16), flip=True, scale=(0.9, 1.2), brightness=0.2, contrast=0.2
        ),
        optim=Optim(lr=3e-3),
        batch_size=size,
        num_epochs=num_epochs(len(splits.train), size, STEPS),
        label_smoothing=0.05,
        balance_labels=unbalanced,
        validation_share=0.15,
    )
