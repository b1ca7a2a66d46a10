"""Networks: float pictures in, logits out. A new one is a file here, a line in ARCHITECTURES, and a recipe.

Knows torch. Knows nothing of data sets, tasks or losses.
"""

from typing import Any

from bundle.errors import RunError
from bundle.tables import entry
from training.architectures.architecture import ArchitectureConfig

ARCHITECTURES = {
    "cnn": "training.architectures.cnn:CnnConfig",
    "conv_autoencoder": "training.architectures.conv_autoencoder:ConvAutoencoderConfig",
    "defect_fpn": "training.architectures.defect_fpn:DefectFpnConfig",
    "dense_autoencoder": "training.architectures.dense_autoencoder:DenseAutoencoderConfig",
    "fcos": "training.architectures.fcos:FcosConfig",
    "mlp": "training.architectures.mlp:MlpConfig",
    "resnet": "training.architectures.resnet:ResnetConfig",
    "text_cnn": "training.architectures.text_cnn:TextCnnConfig",
    "unet": "training.architectures.unet:UnetConfig",
}
"""Key as checkpoints write it -> "module:configuration class", imported on use."""


def architecture_type(key: str) -> type[ArchitectureConfig]:
    """The configuration class behind a key.

    Raises:
        RunError: no such architecture.
    """
    config_type: type[ArchitectureConfig] = entry(ARCHITECTURES, key, "architecture", RunError)
    return config_type


def architecture_config(values: dict[str, Any]) -> ArchitectureConfig:
    """Read an architecture's configuration back from a checkpoint; its key is under `architecture`."""
    return architecture_type(str(values.get("architecture"))).model_validate(values)


__all__ = ["ARCHITECTURES", "ArchitectureConfig", "architecture_config", "architecture_type"]
