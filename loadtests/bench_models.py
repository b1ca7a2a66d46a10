"""`python -m loadtests.bench_models build/bench --text ...`: the models that `make bench` drives, each made once.

They are real bundles with real proof, from training and export; their data are made here. What they are good at does
not matter, only that they weigh and cost what such models do. Knows training and export. Knows nothing of servers.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import tyro

from bundle.device import DeviceKind
from bundle.preprocess import ImageResize
from bundle.store import newest, versions
from export.package import export_run
from loadtests.bundles import publish_again
from loadtests.pictures import DIGIT_PX, write_digits, write_photos
from training.architectures.mlp import MlpConfig
from training.architectures.resnet import ResnetConfig
from training.config import Optim, TrainConfig
from training.data.image_folder import ImageFolder
from training.run import train

TINY, PICTURE, TEXT = "tiny", "picture", "text"
COPIES = {"tiny-b": TINY, "picture-b": PICTURE}
"""Copies: start and memory are measured with five models."""


def tiny(data: Path) -> TrainConfig:
    """28x28 PNGs, 50,890 weights."""
    return TrainConfig(
        name=TINY,
        task="image-classification",
        data=ImageFolder(folder=data),
        preprocess=ImageResize(height_px=DIGIT_PX, width_px=DIGIT_PX, color="grey"),
        model=MlpConfig(widths=(64,)),
        optim=Optim(lr=4e-3),
        num_epochs=15,
    )


def picture(data: Path) -> TrainConfig:
    """500x375 JPEGs of 50 KB, ResNet-18 at 224x224: 11.2 million weights."""
    return TrainConfig(
        name=PICTURE,
        task="image-classification",
        data=ImageFolder(folder=data),
        preprocess=ImageResize(height_px=224, width_px=224, color="rgb"),
        model=ResnetConfig(),
        optim=Optim(lr=1e-3),
        batch_size=8,
        num_epochs=3,
    )


TRAINED: dict[str, tuple[Callable[[Path], None], Callable[[Path], TrainConfig]]] = {
    TINY: (write_digits, tiny),
    PICTURE: (write_photos, picture),
}


def bench_models(out: tyro.conf.Positional[Path], /, text: Path, devices: tuple[DeviceKind, ...] = ("cpu",)) -> int:
    """Make every model that is not there yet, in <out>/models.

    Args:
        out: folder for data, runs and models
        text: folder of a sentence embedding, <repository>/<name>; its newest version is copied
        devices: what artefacts are made for beside fp32
    """
    repository = out / "models"
    for name, (write, configure) in TRAINED.items():
        if not versions(repository, name):
            _train(out, name, write, configure, devices)
    for name, source in ({TEXT: text} | {name: repository / source for name, source in COPIES.items()}).items():
        if not versions(repository, name):
            publish_again(newest(source), repository, name)
    return 0


def _train(
    out: Path,
    name: str,
    write: Callable[[Path], None],
    configure: Callable[[Path], TrainConfig],
    devices: tuple[DeviceKind, ...],
) -> Path:
    data = out / "data" / name
    shutil.rmtree(data, ignore_errors=True)  # half a folder of an interrupted start would be half a data set
    write(data)
    run = train(configure(data), out / "runs", name)
    return export_run(run, out / "models", devices=devices)


if __name__ == "__main__":
    sys.exit(tyro.cli(bench_models, prog="python -m loadtests.bench_models"))
