"""The well-known tutorial's autoencoder on heart beats: 140-32-16-8-16-32-140."""

from bundle.preprocess import Series
from training.architectures.dense_autoencoder import DenseAutoencoderConfig
from training.config import Optim, TrainConfig
from training.data.ecg5000 import NUM_STEPS, Ecg5000


def ecg5000_autoencoder() -> TrainConfig:
    """Heart beats, 140 steps, trained on normal ones alone; seconds."""
    return TrainConfig(
        name="ecg5000_autoencoder",
        task="series-anomaly-detection",
        data=Ecg5000(),
        preprocess=Series(num_steps=NUM_STEPS),
        model=DenseAutoencoderConfig(widths=(32, 16, 8)),
        optim=Optim(lr=2e-3, weight_decay=0.0),
        batch_size=32,
        num_epochs=200,
        patience_epochs=200,
        published={"F1 of the tutorial's autoencoder": 0.942},
    )
