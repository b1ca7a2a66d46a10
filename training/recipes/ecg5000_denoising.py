"""A wide denoising autoencoder on heart beats: 140-256-16-256-140, noise on what it reads."""

from bundle.preprocess import Series
from training.architectures.dense_autoencoder import DenseAutoencoderConfig
from training.config import Optim, TrainConfig
from training.data.ecg5000 import NUM_STEPS, Ecg5000


def ecg5000_denoising() -> TrainConfig:
    """Heart beats, 140 steps, trained on normal ones alone; seconds."""
    return TrainConfig(
        name="ecg5000_denoising",
        task="series-anomaly-detection",
        data=Ecg5000(),
        preprocess=Series(num_steps=NUM_STEPS),
        model=DenseAutoencoderConfig(widths=(256, 16), noise=0.5),
        optim=Optim(lr=2e-3, weight_decay=0.0),
        batch_size=32,
        num_epochs=100,
        patience_epochs=100,
        published={"F1 of the tutorial's autoencoder": 0.942},
    )
