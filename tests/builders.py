"""Bundles and pictures for tests, made in milliseconds without torch: a real bundle around the fake runtime."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bundle.evidence import REQUIRED_CHECKS, Check, Evidence, Latency
from bundle.golden import Golden, write_golden
from bundle.manifest import Artefact, Manifest, Provenance
from bundle.preprocess import ImageResize, Limits, load_preprocess
from bundle.store import commit, hashes, sha256_of, staging
from bundle.tasks import TASKS
from bundle.tasks.classification import ClassificationDecode
from bundle.tensors import Array, stack, unstack
from runtime.fake import FakeRuntime, write_fake

LABELS = ("cat", "dog", "owl")
FAKE_FILE = "model.fake.json"


def picture(seed: int = 0, height_px: int = 12, width_px: int = 16) -> Array:
    """An RGB picture, uint8 [height, width, 3], smooth enough to survive JPEG."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)


def png(image_HWC: Array | None = None, seed: int = 0) -> bytes:
    """A picture as a PNG file."""
    image_HWC = picture(seed) if image_HWC is None else image_HWC
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))
    assert done
    return encoded.tobytes()


def write_fake_bundle(repository: Path, name: str = "fake", labels: tuple[str, ...] = LABELS, **changes: Any) -> Path:
    """Publish a bundle whose artefact is the fake runtime, with golden samples and passed evidence.

    `changes` replace fields of the manifest before it is sealed.
    """
    preprocess = ImageResize(height_px=8, width_px=8, color="rgb")
    pictures = [("image/png", png(seed=seed)) for seed in range(3)]
    decode = ClassificationDecode(labels=labels)
    return write_fake_task_bundle(repository, name, "image-classification", preprocess, decode, pictures, **changes)


def write_fake_task_bundle(
    repository: Path,
    name: str,
    task_id: str,
    preprocess: Any,
    decode: Any,
    raws: list[tuple[str, bytes]],
    assets: dict[str, bytes] | None = None,
    **changes: Any,
) -> Path:
    """The same for any task: `raws` are (media type, raw input) of golden samples, `assets` what preparing needs."""
    task = TASKS[task_id](decode)
    inputs = preprocess.input_specs()
    outputs = task.output_specs(preprocess)
    with staging(repository, name) as folder:
        for asset, content in (assets or {}).items():
            (folder / asset).write_bytes(content)
        prepare = load_preprocess(preprocess, folder)
        write_fake(folder / FAKE_FILE, inputs, outputs)
        runtime = FakeRuntime(folder / FAKE_FILE)
        samples = []
        for media_type, raw in raws:
            prepared = prepare(raw, Limits())
            row = unstack(runtime.run(stack([prepared.tensors])))[0]
            answer = task.decode(row, prepared.source, task.golden_options())
            samples.append(Golden(raw, media_type, prepared.tensors, row, answer))
        golden = write_golden(folder, samples)
        manifest = Manifest(
            name=name,
            version=1,
            task=task_id,
            inputs=inputs,
            outputs=outputs,
            preprocess=preprocess,
            decode=decode,
            max_batch_size=4,
            artefacts={
                "fp32": Artefact(
                    file=FAKE_FILE,
                    runtime="fake",
                    precision="fp32",
                    made="by tests/builders.py",
                    atol=1e-6,
                    evidence=passed_evidence(sha256_of(folder / FAKE_FILE)),
                )
            },
            default_artefact="fp32",
            golden=golden,
            reference={},
            provenance=Provenance(
                recipe="fake",
                arguments={},
                data="fake",
                data_sha256=hashlib.sha256(b"fake").hexdigest(),
                seed=0,
                commit="unknown",
                versions={},
            ),
            files=hashes(folder),
        )
        return commit(folder, repository, manifest.model_copy(update=changes))


def passed_evidence(sha256: str) -> Evidence:
    """Evidence that holds every required check."""
    checks = tuple(Check(kind=kind, subject="everything", value=0.0, limit=0.0) for kind in REQUIRED_CHECKS)
    return Evidence(
        sha256=sha256,
        runtime="fake",
        device="cpu",
        checks=checks,
        metric_name="accuracy",
        metric={"artefact": 1.0, "checkpoint": 1.0},
        num_test_samples=3,
        latency=Latency(threads=1, median_ms={1: 0.1}),
        measured_with={},
    )
