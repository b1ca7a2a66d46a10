"""The complete, typed configuration of a training run; what a recipe returns and the command line overrides.

Knows values, units and ranges. Knows nothing of how they are used.
"""

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from bundle.preprocess import Preprocess
from bundle.spec import Name, Spec
from training.architectures import ArchitectureConfig, architecture_config
from training.data import DataConfig, data_config


class Optim(Spec):
    """Optimiser and learning-rate schedule."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(default=0.05, ge=0)
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warmup_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of all steps in which one_cycle rises to the peak."""


class Augment(Spec):
    """Random changes to training pictures; none to any other."""

    shift_px: int = Field(default=0, ge=0)
    """Pad by this many pixels and cut out at a random place."""
    flip: bool = False
    """Mirror half of the pictures, left to right."""


class TrainConfig(Spec):
    """One run, whole: nothing outside it (but data files and library versions) changes the numbers."""

    name: Name
    """Name of the run, and later of the bundle."""
    task: str
    data: SerializeAsAny[DataConfig]
    preprocess: Preprocess
    model: SerializeAsAny[ArchitectureConfig]
    augment: Augment = Augment()
    optim: Optim = Optim()
    batch_size: int = Field(default=128, ge=1)
    num_epochs: int = Field(default=10, ge=1)
    patience_epochs: int = Field(default=10, ge=1)
    """Stop when the validation metric has not improved for this many epochs."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    gradient_clip_norm: float = Field(default=1.0, gt=0)
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    devices: int = Field(default=-1, ge=-1)
    """How many devices train together (DDP); -1 takes all GPUs, or one CPU process."""
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of train held out to choose on, where the data set has no validation split of its own."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    published: dict[str, float] = Field(default_factory=dict)
    """Figures others report on this test split, by where they come from."""

    @field_validator("model", mode="before")
    @classmethod
    def _model(cls, value: Any) -> Any:
        return architecture_config(value) if isinstance(value, dict) else value

    @field_validator("data", mode="before")
    @classmethod
    def _data(cls, value: Any) -> Any:
        return data_config(value) if isinstance(value, dict) else value
