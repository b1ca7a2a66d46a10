"""The command lines of export: `modelyard export`, `modelyard import`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bundle.device import DeviceKind
from bundle.errors import RunError
from export.artefacts import ALL_DEVICES
from export.package import export_run

Devices = Annotated[
    tuple[DeviceKind, ...],
    tyro.conf.arg(help="what artefacts are made for besides fp32: cpu (int8), cuda (fp16, int8-trt)"),
]


def export_command(arguments: list[str]) -> None:
    """`modelyard export RUN --repository models [--name N]`."""
    tyro.cli(_export, prog="modelyard export", args=arguments)


def import_command(arguments: list[str]) -> None:
    """`modelyard import hf FOLDER --task TASK` and `modelyard import onnx FILE --spec SPEC`."""
    kinds: dict[str, Any] = {"hf": _import_hf, "onnx": _import_onnx}
    tyro.extras.subcommand_cli_from_dict(kinds, prog="modelyard import", args=arguments)


def _export(
    run: tyro.conf.Positional[Path],
    /,
    repository: Path = Path("models"),
    name: str | None = None,
    max_batch_size: Annotated[int, tyro.conf.arg(help="largest batch that is proven")] = 32,
    devices: Devices = ALL_DEVICES,
) -> None:
    """Make the next version of a bundle from a finished run, with proof. The last line printed is its folder.

    Args:
        run: folder of a finished run
        repository: folder of bundles, <repository>/<name>/<version>
        name: the model's name; the run's if none is given
    """
    print(export_run(run, repository, name, max_batch_size, devices))


def _import_hf(
    folder: tyro.conf.Positional[Path],
    /,
    task: Literal["sentence-embedding", "text-classification"],
    repository: Path = Path("models"),
    name: str | None = None,
    max_tokens: int | None = None,
    samples: Path | None = None,
    max_batch_size: Annotated[int, tyro.conf.arg(help="largest batch that is proven")] = 32,
    devices: Devices = ALL_DEVICES,
) -> None:
    """Make a bundle from a transformers folder, proven against its PyTorch model. The last line printed is its folder.

    Args:
        folder: config.json, *.safetensors and tokenizer.json; of sentence-transformers too
        task: what the model is for
        repository: folder of bundles, <repository>/<name>/<version>
        name: the model's name; the folder's if none is given
        max_tokens: longer texts are cut; what the folder says, and 512 at most, if none is given
        samples: file to prove it on, one text a line; texts of ours if none is given
    """
    try:
        from export.import_hf import import_hf
    except ModuleNotFoundError as cause:
        advice = "pip install 'modelyard[huggingface,serving]'"
        raise RunError(f"module '{cause.name}' is not installed; {advice}") from None
    print(import_hf(folder, task, repository, name, max_tokens, samples, max_batch_size, devices))


def _import_onnx(
    file: tyro.conf.Positional[Path],
    /,
    spec: Path,
    repository: Path = Path("models"),
    name: str | None = None,
    max_batch_size: Annotated[int, tyro.conf.arg(help="largest batch that is proven")] = 32,
    devices: Devices = ALL_DEVICES,
) -> None:
    """Make a bundle from an ONNX file, proven against itself only. The last line printed is its folder.

    Args:
        file: the ONNX file; weights beside it are taken in
        spec: YAML document that says what it is: task, preprocess, decode, golden
        repository: folder of bundles, <repository>/<name>/<version>
        name: the model's name; the file's if none is given
    """
    from export.import_onnx import import_onnx

    print(import_onnx(file, spec, repository, name, max_batch_size, devices))
