"""The small typed document that says what somebody's ONNX file is: task, preprocessing, labels, sample inputs.

Knows YAML (read by PyYAML's safe loader, which makes plain values only) and the contract's own types. Knows nothing of
ONNX.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from bundle.errors import DataError, UnusableModel
from bundle.golden import SUFFIXES
from bundle.preprocess import Preprocess
from bundle.spec import Spec, problems
from bundle.tasks import TASKS, Decode
from export.samples import RawSamples

MAX_SPEC_BYTES = 2**20
MEDIA_TYPES = {f".{suffix}": media_type for media_type, suffix in SUFFIXES.items()} | {
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".json": "text/plain",
}
"""By a sample file's suffix."""

Positive = Annotated[float, Field(gt=0)]


class FloatPictures(Spec):
    """The graph takes float32 pictures; what makes them of the uint8 ones that preprocessing gives is put before it."""

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    mean: tuple[float, ...] = (0.0,)
    """Subtracted, of values 0 to 255; one for all channels or one each."""
    std: tuple[Positive, ...] = (1.0,)
    """Divided by, after that."""


class Labelled(Spec):
    """A sample whose label is known."""

    file: Path
    label: str


class ImportSpec(Spec):
    """What the file is. Paths are relative to this document."""

    task: str
    preprocess: Preprocess
    decode: Decode
    golden: tuple[Path, ...] = Field(min_length=1)
    """Raw inputs that travel in the bundle with the answers to them."""
    evaluate: tuple[Labelled, ...] = ()
    """Labelled inputs, for an accuracy."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Our name of an input -> the file's own, where they differ."""
    outputs: dict[str, str] = Field(default_factory=dict)
    """The same for outputs."""
    float_pictures: FloatPictures | None = None
    """Where the graph does not take uint8 pictures [batch, height, width, channels]."""
    softmax: bool = False
    """Whether the graph gives logits, so that a softmax must be put behind it."""


def read_spec(path: Path) -> ImportSpec:
    """Read a spec.

    Raises:
        UnusableModel: unreadable, not YAML, an unknown key, a value that is not allowed, or parts that do not belong
            together.
    """
    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            raise UnusableModel(f"{path}: {path.stat().st_size} bytes; a spec has at most {MAX_SPEC_BYTES}")
        spec = ImportSpec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as cause:
        raise UnusableModel(f"{path}: the spec cannot be read: {' '.join(str(cause).split())}") from None
    except ValidationError as cause:
        raise UnusableModel(f"{path}: {problems(cause)}") from None
    if spec.task not in TASKS:
        raise UnusableModel(f"{path}: task '{spec.task}' is not known; known are {', '.join(TASKS)}")
    if not isinstance(spec.decode, TASKS[spec.task].decode_type):
        raise UnusableModel(f"{path}: decode of kind '{spec.decode.kind}' does not belong to task '{spec.task}'")
    _check_ends(path, spec)
    return spec


def golden_samples(spec: ImportSpec, folder: Path) -> RawSamples:
    """The inputs that travel in the bundle.

    Raises:
        DataError: a file is missing, or its suffix is not one of a raw input.
    """
    return _read([folder / file for file in spec.golden])


def labelled_samples(spec: ImportSpec, folder: Path) -> RawSamples:
    """The inputs whose labels are known; their targets are the labels.

    Raises:
        DataError: a file is missing, or its suffix is not one of a raw input.
    """
    labels = [one.label for one in spec.evaluate]
    return _read([folder / one.file for one in spec.evaluate]).answered(labels)


def _check_ends(path: Path, spec: ImportSpec) -> None:
    if spec.float_pictures is not None:
        channels = getattr(spec.preprocess, "channels", None)
        if channels is None:
            raise UnusableModel(f"{path}: float_pictures is given, but preprocess is {spec.preprocess.kind}")
        for name in ("mean", "std"):
            if len(getattr(spec.float_pictures, name)) not in (1, channels):
                raise UnusableModel(f"{path}: float_pictures.{name} has to hold 1 or {channels} numbers")
    labels = getattr(spec.decode, "labels", ())
    has_scores = spec.decode.kind == "classification"
    if (spec.softmax or spec.evaluate) and not has_scores:
        raise UnusableModel(f"{path}: softmax and evaluate are for tasks with one label an input, not for {spec.task}")
    strangers = sorted({one.label for one in spec.evaluate} - set(labels))
    if strangers:
        raise UnusableModel(f"{path}: evaluate has labels that decode does not: {', '.join(strangers)}")


def _read(paths: list[Path]) -> RawSamples:
    raws, media_types = [], []
    for path in paths:
        if path.suffix.lower() not in MEDIA_TYPES:
            raise DataError(f"{path}: a raw input ends in {', '.join(sorted(MEDIA_TYPES))}")
        try:
            raws.append(path.read_bytes())
        except OSError as cause:
            raise DataError(f"{path}: the sample cannot be read: {cause.strerror}") from None
        media_types.append(MEDIA_TYPES[path.suffix.lower()])
    return RawSamples(raws, media_types, [str(path) for path in paths])
