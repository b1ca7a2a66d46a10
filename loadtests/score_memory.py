"""`python -m loadtests.score_memory BUNDLE`: what `modelyard score` holds in memory while it reads far more than that.

Makes an input of noise that does not compress, in row groups that are large themselves, or of many small rows; scores
it in a process whose memory is limited; and tells rate and peak. Knows the command line. Knows nothing of its
parts.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import tyro
from pyarrow import parquet

from bundle.store import open_bundle

ROW_GROUP_BYTES = 400 * 2**20
SIDE_PX = 640
AS_MANY_DO = {"compression": "none", "use_dictionary": False, "write_batch_size": 64}
"""A page, which a reader has to hold as a whole, is of so many values at least."""


LIMITED = """
import pathlib, resource
resource.setrlimit(resource.RLIMIT_DATA, (%d, %d))
import modelyard
modelyard.main()
print(pathlib.Path("/proc/self/status").read_text())
"""
"""What a parent learns of its child's peak may be its own: the child tells it."""


@dataclass(frozen=True)
class Options:
    """Score more than fits into memory."""

    bundle: tyro.conf.Positional[Path]
    """A bundle that reads pictures."""
    gigabytes: float = 2.0
    """Of pictures as BMP files, of noise."""
    rows: int = 0
    """Instead: so many rows of the bundle's own golden inputs."""
    limit_gigabytes: float = 1.5
    """Memory that the process may write to (RLIMIT_DATA): more than what is resident of it ever is."""
    folder: Path | None = None
    """Where input and output lie for the while."""
    flags: tuple[str, ...] = ()
    """Further flags of `modelyard score`."""


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    input_bytes: int
    num_rows: int
    num_errors: int
    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        """In one line."""
        return (
            f"{self.num_rows} rows ({self.num_errors} bad) of {self.input_bytes / 1e9:.2f} GB in {self.seconds:.0f} s "
            f"({self.num_rows / self.seconds:.0f} rows/s); peak {self.peak_bytes / 1e6:.0f} MB resident"
        )


def noise(num_bytes: int) -> Iterator[bytes]:
    """BMP files of noise, so many bytes in all."""
    rng = np.random.default_rng(0)
    size = SIDE_PX * SIDE_PX * 3
    head = b"BM" + (54 + size).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    head += (40).to_bytes(4, "little") + SIDE_PX.to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
    for _ in range(max(1, num_bytes // (54 + size))):
        yield head + rng.bytes(size)


def write(path: Path, pictures: Iterator[bytes]) -> int:
    """A Parquet file of pictures in large row groups, written in small steps; how many there are."""
    schema = pa.schema([("id", pa.int64()), ("image", pa.binary())])
    count = 0
    with parquet.ParquetWriter(path, schema, **AS_MANY_DO) as writer:
        while step := list(_step(pictures)):
            ids = pa.array(range(count, count + len(step)), pa.int64())
            writer.write_table(pa.table([ids, pa.array(step, pa.binary())], schema=schema), ROW_GROUP_BYTES)
            count += len(step)
    return count


def _step(pictures: Iterator[bytes]) -> Iterator[bytes]:
    held = 0
    while held < ROW_GROUP_BYTES and (picture := next(pictures, None)) is not None:
        held += len(picture)
        yield picture


def score(bundle: Path, given: Path, output: Path, limit_bytes: int, *flags: str) -> Figures:
    """Run the command within the limit.

    Raises:
        RuntimeError: it failed.
    """
    code = LIMITED % (limit_bytes, limit_bytes)
    command = [sys.executable, "-c", code, "score", str(bundle), str(given), str(output), "--keep", "id", *flags]
    start = time.monotonic()
    environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"}  # its own reserves what it never touches
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.monotonic() - start
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads((output / "_summary.json").read_bytes())
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)[0]) * 1024
    return Figures(given.stat().st_size, found["num_rows"], found["num_errors"], seconds, peak)


def main(options: Options) -> None:
    """Make, score, tell."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        given = Path(folder, "in.parquet")
        golden = [sample.raw for sample in open_bundle(options.bundle).golden()]
        many = islice(cycle(golden), options.rows)
        pictures = many if options.rows else noise(int(options.gigabytes * 1e9))
        write(given, pictures)
        limit = int(options.limit_gigabytes * 1e9)
        print(score(options.bundle, given, Path(folder, "out"), limit, *options.flags))


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m loadtests.score_memory"))
