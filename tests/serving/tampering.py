"""Ways to tamper with a bundle on disk, each with the words that its refusal must hold: the file and the cause."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bundle.golden import ANSWERS_FILE
from bundle.store import MANIFEST_FILE, hashes, read_manifest
from tests.builders import FAKE_FILE


@dataclass(frozen=True)
class Tampering:
    """What is done to a good bundle, and what a person must be told."""

    damage: Callable[[Path], object]
    told: tuple[str, ...]


def reseal(bundle: Path) -> None:
    """Write hashes and digest anew, so that only what the bundle claims can give it away."""
    manifest = read_manifest(bundle).model_copy(update={"files": hashes(bundle)}).sealed()
    (bundle / MANIFEST_FILE).write_text(manifest.model_dump_json(), encoding="utf-8")


def edit(file: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    content = json.loads(file.read_bytes())
    change(content)
    file.write_bytes(msgspec.json.encode(content))


def _flip_a_byte(bundle: Path) -> None:
    artefact = bundle / FAKE_FILE
    content = bytearray(artefact.read_bytes())
    content[-2] ^= 1
    artefact.write_bytes(content)


def _swap_labels(bundle: Path) -> None:
    edit(bundle / MANIFEST_FILE, lambda manifest: manifest["decode"]["labels"].reverse())


def _rename_a_label(bundle: Path) -> None:
    edit(bundle / MANIFEST_FILE, lambda manifest: manifest["decode"]["labels"].__setitem__(1, "wolf"))
    reseal(bundle)


def _delete_evidence(bundle: Path) -> None:
    edit(bundle / MANIFEST_FILE, lambda manifest: manifest["artefacts"]["fp32"].pop("evidence"))
    reseal(bundle)


def _break_a_limit(bundle: Path) -> None:
    edit(bundle / MANIFEST_FILE, lambda m: m["artefacts"]["fp32"]["evidence"]["checks"][3].update(value=2.0))
    reseal(bundle)


def _change_an_answer(bundle: Path) -> None:
    edit(bundle / ANSWERS_FILE, lambda answers: answers[0].update(label="owl", score=1.0))
    reseal(bundle)


TAMPERINGS = {
    "byte": Tampering(_flip_a_byte, (FAKE_FILE, "sha256")),
    "label": Tampering(_swap_labels, (MANIFEST_FILE, "digest")),
    "relabelled": Tampering(_rename_a_label, ("golden sample", "the answer differs", "'wolf'")),
    "evidence": Tampering(_delete_evidence, (MANIFEST_FILE, FAKE_FILE, "no evidence")),
    "limit": Tampering(_break_a_limit, (MANIFEST_FILE, FAKE_FILE, "broken limits")),
    "answer": Tampering(_change_an_answer, ("golden sample 0", "the answer differs")),
    "golden": Tampering(lambda bundle: (bundle / "golden" / "00.png").unlink(), ("golden/00.png", "No such file")),
    "manifest": Tampering(lambda bundle: (bundle / MANIFEST_FILE).unlink(), (MANIFEST_FILE, "not a bundle")),
    "json": Tampering(lambda bundle: (bundle / MANIFEST_FILE).write_text("{"), (MANIFEST_FILE, "cannot be read")),
    "renamed": Tampering(lambda bundle: shutil.move(bundle, bundle.parent / "7"), (MANIFEST_FILE, "version 1", "/7")),
}
"""Model name -> what is done to it."""
