"""`python -m loadtests.traffic.models build/loadtest`: a small model of every family, each made once.

They went through training and export like any other, so they are proven and hold golden samples; but they learn for one
epoch from a few generated samples, so what they say means nothing. Knows training and export. Knows nothing of servers.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tyro

from bundle.preprocess import ImageResize, Series, TextTokens
from bundle.store import versions
from export import latency
from export.import_hf import import_hf
from export.package import export_run
from loadtests.pictures import HUES, draw_photo
from loadtests.questions import SENTENCE
from loadtests.traffic.encoder import write_encoder
from loadtests.traffic.waves import NUM_STEPS, Waves
from training.architectures.dense_autoencoder import DenseAutoencoderConfig
from training.architectures.resnet import ResnetConfig
from training.architectures.text_cnn import TextCnnConfig
from training.config import TrainConfig
from training.data import DATASETS
from training.data.image_folder import ImageFolder
from training.data.shapes import ShapesBoxes, ShapesMasks
from training.data.text_file import TextFile
from training.recipes import load_recipe
from training.run import train
from training.tokenizer import Tokenizer

EMBEDDER = "load-text-embed"
PHOTOS = {"train": 6, "test": 3}
"""Of each label."""
JPEG_QUALITY = 75
MAX_BATCH = 8
QUICK_S = 0.1
"""For each of export's measurements of speed, over its fewest runs: nothing is decided by them here."""
WORDS_A_TEXT = 12
NUM_TEXTS = 120
SEED = 20261122


def _classify(data: Path) -> TrainConfig:
    """500x375 JPEGs, ResNet-18 at 96x96."""
    for split, count in PHOTOS.items():
        for label, hue in HUES.items():
            folder = data / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                photo = draw_photo(np.random.default_rng((SEED, len(split), hue, i)), hue)
                cv2.imwrite(str(folder / f"{i}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return TrainConfig(
        name="load-classify",
        task="image-classification",
        data=ImageFolder(folder=data),
        preprocess=ImageResize(height_px=96, width_px=96, color="rgb"),
        model=ResnetConfig(),  # a request has to cost the server far more than the generator, or it measures itself
        batch_size=8,
        num_epochs=1,
    )


def _segment(_: Path) -> TrainConfig:
    """The recipe, on fewer scenes."""
    fewer = {"data": ShapesMasks(num_train=80, num_test=20, height_px=64, width_px=64)}
    return load_recipe("shapes_unet")().model_copy(update=fewer | _once("load-segment"))


def _detect(_: Path) -> TrainConfig:
    """The recipe, on fewer scenes."""
    fewer = {"data": ShapesBoxes(num_train=80, num_test=20)}
    return load_recipe("shapes_detector")().model_copy(update=fewer | _once("load-detect"))


def _anomaly(_: Path) -> TrainConfig:
    """The recipe."""
    return load_recipe("scratches_painted")().model_copy(update=_once("load-anomaly"))


def _series(_: Path) -> TrainConfig:
    """A perceptron that repeats what it is given."""
    return TrainConfig(
        name="load-series",
        task="series-anomaly-detection",
        data=Waves(),
        preprocess=Series(num_steps=NUM_STEPS),
        model=DenseAutoencoderConfig(widths=(32, 16, 8)),
        batch_size=20,
        num_epochs=2,
    )


def _text_classify(data: Path) -> TrainConfig:
    """Words of one sentence in any order; the label is one of the words."""
    rng = np.random.default_rng(SEED)
    rows = []
    for _ in range(NUM_TEXTS):
        words = rng.permutation(SENTENCE.split())[:WORDS_A_TEXT].tolist()
        words.insert(rng.integers(len(words)), label := str(rng.choice(["calm", "storm"])))
        rows.append(f"{' '.join(words)},{label}")
    data.mkdir(parents=True)
    file = data / "texts.csv"
    file.write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    return TrainConfig(
        name="load-text-classify",
        task="text-classification",
        data=TextFile(file=file, text="text", label="label"),
        tokenizer=Tokenizer(algorithm="words", lowercase=True, min_frequency=1),
        preprocess=TextTokens(vocab_size=200, max_tokens=64),
        model=TextCnnConfig(embedding=64, channels=64, widths=(2, 3, 4), ngrams=1, buckets=2**12),
        batch_size=20,
        num_epochs=1,
    )


def _once(name: str) -> dict[str, object]:
    return {"name": name, "num_epochs": 1, "patience_epochs": 1}


TRAINED: dict[str, Callable[[Path], TrainConfig]] = {
    "load-classify": _classify,
    "load-segment": _segment,
    "load-detect": _detect,
    "load-anomaly": _anomaly,
    "load-series": _series,
    "load-text-classify": _text_classify,
}
"""Name -> its configuration, once its data are written to a folder."""


def make_models(out: tyro.conf.Positional[Path], /) -> int:
    """Make every model that is not there yet, in <out>/models.

    Args:
        out: folder for models
    """
    DATASETS.setdefault("generated-waves", "loadtests.traffic.waves:Waves")  # found again by the checkpoint's word
    latency.BUDGET_S = QUICK_S
    repository = out / "models"
    start = time.perf_counter()
    for name, configure in TRAINED.items():
        if not versions(repository, name):
            with tempfile.TemporaryDirectory() as folder:
                config = configure(Path(folder) / "data")
                export_run(train(config, Path(folder) / "runs", name), repository, max_batch_size=MAX_BATCH, devices=())
            print(f"{name}: made after {time.perf_counter() - start:.0f} s", file=sys.stderr)
    if not versions(repository, EMBEDDER):
        with tempfile.TemporaryDirectory() as folder:
            import_hf(
                write_encoder(Path(folder) / "encoder"),
                "sentence-embedding",
                repository,
                EMBEDDER,
                max_batch_size=MAX_BATCH,
                devices=(),
            )
        print(f"{EMBEDDER}: made after {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(make_models, prog="python -m loadtests.traffic.models"))
