"""The complete, typed configuration of a training run; what a recipe returns and the command line overrides.

Knows values, units and ranges. Knows nothing of how they are used.
"""

from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, SerializeAsAny, field_validator, model_validator

from bundle.preprocess import Preprocess
from bundle.spec import Name, Spec
from training.architectures import ArchitectureConfig, architecture_config
from training.data import DataConfig, data_config
from training.tokenizer import Tokenizer


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
    flip_vertical: bool = False
    """Mirror half of the pictures, top to bottom."""
    scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    """Zoom by a factor between these, twice as large as likely as half as large; a window lies anywhere."""
    rotate_deg: float = Field(default=0.0, ge=0, le=180)
    """Turn by at most this much either way."""
    brightness: float = Field(default=0.0, ge=0)
    """Add up to this many standard deviations, either way."""
    defects: float = Field(default=0.0, ge=0, le=1)
    """Paint defects on this share of the pictures; anomaly detection only."""
    contrast: float = Field(default=0.0, ge=0, lt=1)
    """Multiply by 1 minus up to 1 plus this."""


class TrainConfig(Spec):
    """One run, whole: nothing outside it (but data files and library versions) changes the numbers."""

    name: Name
    """Name of the run, and later of the bundle."""
    task: str
    data: SerializeAsAny[DataConfig]
    preprocess: Preprocess
    tokenizer: Tokenizer | None = None
    """How the tokeniser is made from the training texts; texts only."""
    model: SerializeAsAny[ArchitectureConfig]
    augment: Augment = Augment()
    optim: Optim = Optim()
    batch_size: int = Field(default=128, ge=1)
    num_epochs: int = Field(default=10, ge=1)
    patience_epochs: int = Field(default=10, ge=1)
    """Stop when the validation metric has not improved for this many epochs."""
    balance_labels: bool = False
    """Draw every label equally often, however rare it is."""
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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.task not in self.model.tasks:
            fitting = ", ".join(self.model.tasks)
            raise ValueError(f"architecture '{self.model.architecture}' is for {fitting}, not for '{self.task}'")
        if bool(self.preprocess.assets()) != (self.tokenizer is not None):
            raise ValueError(
                f"a tokenizer belongs to texts, and texts need one; preprocess is '{self.preprocess.kind}'"
            )
        return self
