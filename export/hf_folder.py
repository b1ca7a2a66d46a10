"""A transformers folder on disk: what it must hold, what its JSON files say, and why it is refused where it is.

Knows files and their conventions, sentence-transformers' too. Knows nothing of torch or of the transformers library;
nothing in the folder is executed or unpickled.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from bundle.errors import UnusableModel
from bundle.store import sha256_of

Pooling = Literal["mean", "cls"]

ENCODERS = (
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
"""Values of `model_type` whose export is tested (tests/export/test_import_hf.py)."""

TASKS = ("sentence-embedding", "text-classification")
CLASSIFIER = "ForSequenceClassification"
"""How the names of architectures with a classifier's head end."""

POOLINGS: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
MAX_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True)
class HfFolder:
    """What the files say."""

    path: Path
    """Where config.json, weights and tokenizer lie."""
    config: dict[str, Any]
    weights: tuple[Path, ...]
    pooling: Pooling = "mean"
    normalised: bool = False
    max_tokens: int | None = None
    """What sentence-transformers would cut at."""
    lower_case: bool = False
    """Whether sentence-transformers would write texts in small letters first."""
    licence: str = "not told"
    """What the README's head says."""

    def sha256(self) -> dict[str, str]:
        """Digest of every file that the model is made of, by name."""
        used = (self.path / "config.json", self.path / "tokenizer.json", *self.weights)
        return {path.name: sha256_of(path) for path in used}


def read_hf_folder(folder: Path, task: str) -> HfFolder:
    """Read and check everything that needs no torch.

    Raises:
        UnusableModel: names the file that is missing, damaged, or asks for what is not supported.
    """
    if task not in TASKS:
        raise UnusableModel(f"task '{task}' cannot be imported from a transformers folder; {', '.join(TASKS)} can")
    if not folder.is_dir():
        raise UnusableModel(f"{folder}: no such folder")
    modules = _modules(folder) if task == "sentence-embedding" else {}
    path = _inside(folder, modules.get("Transformer", ""))
    config = _read_json(path / "config.json", "this is not a transformers folder")
    _check_config(path / "config.json", config, task)
    if not (path / "tokenizer.json").is_file():
        raise UnusableModel(
            f"{path}: no tokenizer.json; a tokenizer in Python alone (vocab.txt, sentencepiece) cannot travel in a "
            "bundle. Save it once as a fast one: AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )
    sentence = _read_json_if_there(path / "sentence_bert_config.json")
    return HfFolder(
        path,
        config,
        _weights(path),
        _pooling(_inside(folder, modules["Pooling"])) if "Pooling" in modules else "mean",
        "Normalize" in modules,
        sentence.get("max_seq_length"),
        bool(sentence.get("do_lower_case")),
        _licence(folder / "README.md"),
    )


def _check_config(path: Path, config: dict[str, Any], task: str) -> None:
    model_type = config.get("model_type")
    if "auto_map" in config:
        raise UnusableModel(f"{path}: auto_map asks for Python code of its own, which is never run")
    if model_type not in ENCODERS:
        raise UnusableModel(f"{path}: model_type {model_type!r} is not supported; {', '.join(ENCODERS)} are")
    if task == "text-classification":
        _check_classifier(path, config)


def _check_classifier(path: Path, config: dict[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if not any(str(name).endswith(CLASSIFIER) for name in architectures):
        raise UnusableModel(f"{path}: architectures is {architectures}; a classifier's ends in {CLASSIFIER}")
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise UnusableModel(
            f"{path}: problem_type is '{config['problem_type']}'; "
            "only one label a text, by scores that sum to 1, is served"
        )


def _weights(path: Path) -> tuple[Path, ...]:
    found = tuple(sorted(path.glob("model*.safetensors")))
    if found:
        return found
    pickles = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    if pickles:
        raise UnusableModel(
            f"{path}: its weights are pickled ({', '.join(pickles)}), and unpickling runs whatever code is in a file; "
            "save them as safetensors: model.save_pretrained(folder, safe_serialization=True)"
        )
    raise UnusableModel(f"{path}: no model.safetensors; there are no weights")


def _modules(folder: Path) -> dict[str, str]:
    """sentence-transformers' modules.json: kind -> subfolder; empty where there is no such file."""
    path = folder / "modules.json"
    if not path.exists():
        return {}
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
        modules = {str(entry["type"]).rpartition(".")[2]: str(entry.get("path", "")) for entry in entries}
    except (OSError, msgspec.MsgspecError, RecursionError, KeyError) as cause:
        raise UnusableModel(f"{path}: not a list of modules with type and path: {cause}") from None
    kinds = list(modules)
    if len(kinds) < len(entries) or kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnusableModel(
            f"{path}: the modules are {', '.join(kinds)}; supported is Transformer, Pooling[, Normalize]"
        )
    return modules


def _pooling(folder: Path) -> Pooling:
    path = folder / "config.json"
    config = _read_json(path, "sentence-transformers' pooling is not told")
    if isinstance(named := config.get("pooling_mode"), str):  # as later versions write it
        config = {f"pooling_mode_{'cls_token' if named == 'cls' else f'{named}_tokens'}": True}
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UnusableModel(
            f"{path}: pooling is {', '.join(modes) or 'none'}; supported is one of {', '.join(POOLINGS)}"
        )
    return POOLINGS[modes[0]]


def _inside(folder: Path, part: str) -> Path:
    path = folder / part
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnusableModel(f"{folder}/modules.json: '{part}' leads out of the folder")
    return path


def _licence(readme: Path) -> str:
    """The `license:` line in the head of a model card."""
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    head = text.split("---")[1] if text.startswith("---") else ""
    told = [line.partition(":")[2].strip() for line in head.splitlines() if line.startswith("license:")]
    return told[0] if told else "not told"


def _read_json_if_there(path: Path) -> dict[str, Any]:
    return _read_json(path, "") if path.exists() else {}


def _read_json(path: Path, without: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UnusableModel(f"{path}: {path.stat().st_size} bytes; a file of settings has at most {MAX_JSON_BYTES}")
        content = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise UnusableModel(f"{path.parent}: no {path.name}; {without}") from None
    except (OSError, msgspec.MsgspecError, RecursionError) as cause:
        raise UnusableModel(f"{path}: cannot be read: {cause}") from None
    if not isinstance(content, dict):
        raise UnusableModel(f"{path}: holds a {type(content).__name__}, expected an object")
    return content
