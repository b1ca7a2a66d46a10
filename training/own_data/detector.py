"""`modelyard train detector --data FOLDER`: boxes in Pascal VOC's or COCO's form."""

from pathlib import Path

from bundle.errors import DataError
from training.architectures.fcos import FcosConfig
from training.config import Augment, Optim, TrainConfig
from training.data.coco import CocoFolder
from training.data.samples import DataConfig
from training.data.voc import VocFolder
from training.own_data.defaults import batch_size, describe, image_resize, num_epochs

LONGEST_PX = 320  # what two cores train in an hour
MULTIPLE_PX = 32  # the coarsest of the three levels
STEPS = 2500


def detector(data: Path, name: str = "detector") -> TrainConfig:
    """Find objects: a Pascal VOC folder (Annotations, JPEGImages) or a COCO folder (annotations/*train*.json).

    Args:
        data: folder of pictures and boxes
        name: name of the run, and later of the model
    """
    dataset = _dataset(data.resolve())
    splits = dataset.load()
    size = batch_size(len(splits.train), 8)
    describe(splits)
    return TrainConfig(
        name=name,
        task="object-detection",
        data=dataset,
        preprocess=image_resize(splits.train, LONGEST_PX, MULTIPLE_PX),
        model=FcosConfig(),
        augment=Augment(flip=True, scale=(0.8, 1.25), brightness=0.2, contrast=0.2),
        optim=Optim(lr=2e-3),
        batch_size=size,
        num_epochs=num_epochs(len(splits.train), size, STEPS),
        patience_epochs=30,
        gradient_clip_norm=10.0,
        validation_share=0.15,
    )


def _dataset(folder: Path) -> DataConfig:
    if (folder / "Annotations").is_dir():
        return VocFolder(folder=folder)
    if list(folder.glob("annotations/*.json")) or list(folder.glob("*/*.json")):
        return CocoFolder(folder=folder)
    raise DataError(
        f"{folder}: neither Pascal VOC (Annotations/*.xml beside JPEGImages) nor COCO (annotations/*train*.json, or "
        "train/*.json beside the pictures) lies there"
    )
