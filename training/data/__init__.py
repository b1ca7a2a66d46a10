"""Data sets: raw inputs with their targets, as they lie on disk or in a package. A new one is a file and a line here.

Knows files, formats and checksums. Knows nothing of networks or losses.
"""

from typing import Any

from bundle.errors import DataError
from bundle.tables import entry
from training.data.samples import DataConfig, Samples, Splits

DATASETS = {
    "digits": "training.data.digits:Digits",
    "fashion-mnist": "training.data.fashion_mnist:FashionMnist",
    "image-folder": "training.data.image_folder:ImageFolder",
}
"""Key as checkpoints write it -> "module:configuration class", imported on use."""


def data_config(values: dict[str, Any]) -> DataConfig:
    """Read a data set's configuration back from a checkpoint; its key is under `dataset`.

    Raises:
        DataError: no such data set.
    """
    config_type: type[DataConfig] = entry(DATASETS, str(values.get("dataset")), "data set", DataError)
    return config_type.model_validate(values)


__all__ = ["DATASETS", "DataConfig", "Samples", "Splits", "data_config"]
