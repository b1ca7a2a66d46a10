"""Golden samples: raw inputs with the checkpoint's own tensors and answers, travelling inside the bundle.

One set, four uses: export proves artefacts with them, serving replays them before it is ready, a canary replays them
while it runs, load tests check answers with them. Knows files and tensors. Knows nothing of engines.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from bundle.errors import BundleError
from bundle.manifest import GOLDEN_ANSWERS_FILE as ANSWERS_FILE
from bundle.manifest import GOLDEN_TENSORS_FILE as TENSORS_FILE
from bundle.manifest import GoldenSample, Manifest
from bundle.tasks import TASKS
from bundle.tensors import Tensors

SUFFIXES = {
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/tiff": "tiff",
    "image/webp": "webp",
    "text/csv": "csv",
    "text/plain": "txt",
}


@dataclass(frozen=True)
class Golden:
    """One sample: raw bytes, the rows they become, the checkpoint's output rows, and the answer a user sees."""

    raw: bytes
    media_type: str
    inputs: Tensors
    outputs: Tensors
    answer: msgspec.Struct


def write_golden(folder: Path, samples: list[Golden]) -> tuple[GoldenSample, ...]:
    """Write samples under `folder`/golden and return how the manifest names them."""
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    named = []
    tensors: Tensors = {}
    for i, sample in enumerate(samples):
        file = f"golden/{i:02d}.{SUFFIXES[sample.media_type]}"
        (folder / file).write_bytes(sample.raw)
        named.append(GoldenSample(file=file, media_type=sample.media_type))
        for side, rows in (("inputs", sample.inputs), ("outputs", sample.outputs)):
            tensors |= {f"{i}.{side}.{name}": np.asarray(row, order="C") for name, row in rows.items()}
    safetensors.numpy.save_file(tensors, folder / TENSORS_FILE)
    answers = msgspec.json.encode([sample.answer for sample in samples])
    (folder / ANSWERS_FILE).write_bytes(msgspec.json.format(answers))
    return tuple(named)


def read_golden(folder: Path, manifest: Manifest) -> list[Golden]:
    """Read the samples that the manifest names.

    Raises:
        BundleError: a golden file is missing, damaged or does not fit the manifest.
    """
    result_type = TASKS[manifest.task].result_type
    try:
        tensors = safetensors.numpy.load_file(folder / TENSORS_FILE)
        answers = msgspec.json.decode((folder / ANSWERS_FILE).read_bytes(), type=list[result_type])  # type: ignore[valid-type]
        if len(answers) != len(manifest.golden):
            named = len(manifest.golden)
            raise BundleError(
                f"{folder}/{ANSWERS_FILE}: holds {len(answers)} answers, the manifest names {named} samples"
            )
        return [
            Golden(
                raw=(folder / sample.file).read_bytes(),
                media_type=sample.media_type,
                inputs={spec.name: tensors[f"{i}.inputs.{spec.name}"] for spec in manifest.inputs},
                outputs={spec.name: tensors[f"{i}.outputs.{spec.name}"] for spec in manifest.outputs},
                answer=answers[i],
            )
            for i, sample in enumerate(manifest.golden)
        ]
    except KeyError as missing:
        raise BundleError(f"{folder}/{TENSORS_FILE}: holds no tensor {missing}") from None
    except (OSError, SafetensorError, msgspec.MsgspecError, RecursionError) as cause:
        raise BundleError(f"{folder}: the golden samples cannot be read: {cause}") from cause
