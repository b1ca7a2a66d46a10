"""Jobs for tests: inputs in every form, whole commands as processes, and outputs read back."""

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tests.builders import png, write_fake_task_bundle
from tests.conformance.examples import EXAMPLES, KINDS

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


def write_example_bundle(repository: Path, task_id: str, name: str = "fake", **changes: Any) -> Path:
    """A bundle of a task around the fake runtime."""
    example = EXAMPLES[task_id]
    kind = KINDS[example.preprocess.kind]
    raws = [(kind.media_type, raw) for raw in kind.raws]
    return write_fake_task_bundle(
        repository, name, task_id, example.preprocess, example.decode, raws, kind.assets, **changes
    )


def write_pictures(folder: Path, number: int, bad: Sequence[int] = ()) -> Path:
    """PNG files, some of which are none."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        (folder / f"{i:05}.png").write_bytes(b"no picture" if i in bad else png(seed=i))
    return folder


def series(number: int) -> list[list[float]]:
    """Series as the example bundle reads them."""
    return [[float(i + step) for step in range(24)] for i in range(number)]


def write_series(path: Path, number: int, bad: Sequence[int] = (), row_group: int | None = None) -> Path:
    """A Parquet file of series with an id; the bad ones are too short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row[:3] if i in bad else row for i, row in enumerate(series(number))]
    table = pa.table({"id": pa.array(range(number), pa.int64()), "series": pa.array(rows, pa.list_(pa.float32()))})
    parquet.write_table(table, path, row_group_size=row_group or max(number, 1))
    return path


def command(*arguments: object) -> list[str]:
    """`modelyard score ...`."""
    return [sys.executable, "-m", "modelyard", "score", *map(str, arguments)]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This one, with the same modules in whatever folder a process works."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **(changes or {})}


def run(
    *arguments: object, changes: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=environment(changes),
        **options,
    )  # fmt: skip


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def parts(output: Path) -> list[Path]:
    """In order."""
    return sorted(path for path in output.iterdir() if path.name.startswith("part-"))


def rows(output: Path) -> list[dict[str, Any]]:
    """All rows of all parts, in order."""
    return [row for part in parts(output) for row in READ[part.suffix](part)]


def _csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


READ = {
    ".parquet": lambda path: parquet.read_table(path).to_pylist(),
    ".jsonl": lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()],
    ".csv": _csv,
}


def content(output: Path) -> dict[str, bytes]:
    """Every file of a finished output, without those that tell of one run: who held it, and how long it took."""
    files = (path for path in output.rglob("*") if path.is_file())
    found = {path.relative_to(output).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name not in ("_claim", "_summary.json")}


def summary(output: Path) -> dict[str, Any]:
    """The job's last word."""
    found: dict[str, Any] = json.loads((output / "_summary.json").read_bytes())
    return found
