"""Data sets: raw inputs with their targets, as they lie on disk or in a package. A new one is a file and a line here.

Knows files, formats and checksums. Knows nothing of networks or losses.
"""

from typing import Any

from bundle.errors import DataError
from bundle.tables import entry
from training.data.samples import DataConfig, Samples, Splits

DATASETS = {
    "bccd": "training.data.bccd:Bccd",
    "camvid": "training.data.camvid:CamVid",
    "coco": "training.data.coco:CocoFolder",
    "digits": "training.data.digits:Digits",
    "ecg5000": "training.data.ecg5000:Ecg5000",
    "fashion-mnist": "training.data.fashion_mnist:FashionMnist",
    "image-folder": "training.data.image_folder:ImageFolder",
    "magnetic-tile": "training.data.magnetic_tile:MagneticTile",
    "mask-folder": "training.data.mask_folder:MaskFolder",
    "normal-folder": "training.data.normal_folder:NormalFolder",
    "nsmc": "training.data.nsmc:Nsmc",
    "scratches": "training.data.scratches:Scratches",
    "shapes-boxes": "training.data.shapes:ShapesBoxes",
    "shapes-masks": "training.data.shapes:ShapesMasks",
    "sst2": "training.data.sst2:Sst2",
    "text-file": "training.data.text_file:TextFile",
    "voc": "training.data.voc:VocFolder",
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
