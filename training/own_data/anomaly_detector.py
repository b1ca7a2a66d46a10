"""`modelyard train anomaly_detector --data NORMAL_FOLDER`: pictures of what is good, and none of what is not."""

from pathlib import Path

from training.architectures.defect_fpn import DefectFpnConfig
from training.config import Augment, Optim, TrainConfig
from training.data.normal_folder import NormalFolder
from training.own_data.defaults import batch_size, describe, image_resize, num_epochs

LONGEST_PX = 192  # small defects need pixels, and two cores train this in ten minutes
MULTIPLE_PX = 32
STEPS = 1500


def anomaly_detector(data: Path, name: str = "anomaly_detector") -> TrainConfig:
    """Find what is not as it should be: a folder of good pictures; or train/good with test/good and test/<defect>.

    Args:
        data: folder of pictures
        name: name of the run, and later of the model
    """
    dataset = NormalFolder(folder=data.resolve())
    splits = dataset.load()
    size = batch_size(len(splits.train), 16)
    epochs = num_epochs(len(splits.train), size, STEPS)
    painted = all(label.startswith("painted") for label in splits.labels[1:])
    note = "there are no defective pictures to test on: the figures are about defects painted on good ones"
    describe(splits, [note] if painted else [])
    return TrainConfig(
        name=name,
        task="anomaly-detection",
        data=dataset,
        preprocess=image_resize(splits.train, LONGEST_PX, MULTIPLE_PX),
        model=DefectFpnConfig(),
        augment=Augment(flip=True, shift_px=8, scale=(0.9, 1.1), contrast=0.2, defects=0.6),
        optim=Optim(lr=3e-3, weight_decay=0.01),
        batch_size=size,
        num_epochs=epochs,
        patience_epochs=epochs,  # the rate falls to nothing at the end, and the best epochs are there
    )
