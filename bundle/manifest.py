"""The manifest: all that is needed to run and to trust one model version.

`manifest.schema.json` is made from these classes and committed; old manifests stay loadable. Knows the form of a
bundle's documents. Knows nothing of files on disk (bundle/store.py) or of engines.
"""

import hashlib
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import AfterValidator, Field, model_validator

from bundle.evidence import Evidence
from bundle.preprocess import Preprocess
from bundle.spec import Name, Sha256, Spec
from bundle.tasks import TASKS, Decode
from bundle.tensors import TensorSpec

SCHEMA_VERSION = 1
GOLDEN_TENSORS_FILE = "golden/tensors.safetensors"
GOLDEN_ANSWERS_FILE = "golden/answers.json"


def stays_inside(path: str) -> str:
    """A path that leads to a file inside of a bundle, with forward slashes: never absolute, never upwards.

    Raises:
        ValueError: any other.
    """
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"'{path}' is not a plain path inside the bundle")
    return path


FilePath = Annotated[str, AfterValidator(stays_inside)]
"""A file inside the bundle, with forward slashes; never absolute, never upwards."""


class Artefact(Spec):
    """One runnable file."""

    file: FilePath
    runtime: str
    """Key of RUNTIMES."""
    precision: Literal["fp32", "fp16", "int8"]
    device: Literal["any", "cpu", "cuda"] = "any"
    """What it was made for. One for "cuda" was proven on a CPU, as far as that can be; where it is served it must be
    proven on the device too (`modelyard prove`), as bundle/engines.py records it."""
    made: str
    """How the file was made, for people."""
    atol: float = Field(ge=0)
    """Largest error against the checkpoint that golden replays allow in each output value."""
    evidence: Evidence | None = None

    @property
    def is_reference(self) -> bool:
        """Whether it is the one that runs anywhere, and to whose answers others are held on a device."""
        return self.precision == "fp32" and self.device == "any"


class LeftOut(Spec):
    """An artefact that was made and not shipped, with the figure that decided."""

    artefact: str
    reason: str


class GoldenSample(Spec):
    """One raw input; its expected tensors and answer stand in golden/tensors.safetensors and golden/answers.json."""

    file: FilePath
    media_type: str


class Provenance(Spec):
    """Where the model comes from."""

    recipe: str
    arguments: dict[str, Any]
    data: str
    data_sha256: Sha256
    seed: int
    commit: str
    versions: dict[str, str]


class Manifest(Spec):
    """What one model version is, what it can do, and why to believe it."""

    schema_version: Literal[1] = 1
    name: Name
    version: int = Field(ge=1)
    task: str
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    preprocess: Preprocess
    decode: Decode
    max_batch_size: int = Field(ge=1)
    """Largest batch that the evidence covers."""
    artefacts: dict[str, Artefact] = Field(min_length=1)
    default_artefact: str
    left_out: tuple[LeftOut, ...] = ()
    golden: tuple[GoldenSample, ...] = Field(min_length=1)
    reference: dict[str, list[float]]
    """Statistics of the answers on the test split, for drift."""
    provenance: Provenance
    files: dict[FilePath, Sha256]
    """Every file of the bundle but the manifest itself."""
    digest: str = ""
    """sha256 of this manifest without this field: the identity of the bundle."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.task not in TASKS:
            raise ValueError(f"task '{self.task}' is not known; known are {', '.join(TASKS)}")
        task_type = TASKS[self.task]
        if not isinstance(self.decode, task_type.decode_type):
            raise ValueError(f"decode parameters of kind '{self.decode.kind}' do not belong to task '{self.task}'")
        if self.inputs != self.preprocess.input_specs():
            given, made = _brief(self.inputs), _brief(self.preprocess.input_specs())
            raise ValueError(f"inputs are {given}, but preprocessing makes {made}")
        expected = task_type(self.decode).output_specs(self.preprocess)
        if self.outputs != expected:
            raise ValueError(f"outputs are {_brief(self.outputs)}, but the task and its labels need {_brief(expected)}")
        if self.default_artefact not in self.artefacts:
            raise ValueError(f"default_artefact '{self.default_artefact}' is not one of {', '.join(self.artefacts)}")
        named = {artefact.file for artefact in self.artefacts.values()} | {sample.file for sample in self.golden}
        named |= {GOLDEN_TENSORS_FILE, GOLDEN_ANSWERS_FILE, *self.preprocess.assets()}
        unhashed = sorted(named - self.files.keys())
        if unhashed:
            raise ValueError(f"no sha256 is given for {', '.join(unhashed)}")
        return self

    def sealed(self) -> Self:
        """The same manifest with its digest filled in."""
        return self.model_copy(update={"digest": digest_of(self.model_dump(mode="json"))})


def digest_of(content: dict[str, Any]) -> str:
    """The digest that a manifest of this content should carry; of what is written, so that old ones keep theirs."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(msgspec.json.encode(rest, order="deterministic")).hexdigest()


def _brief(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs))


def schema() -> dict[str, Any]:
    """JSON Schema of the manifest, as committed in docs/manifest.schema.json."""
    return Manifest.model_json_schema(mode="serialization")
