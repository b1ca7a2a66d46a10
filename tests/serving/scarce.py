"""`python -m tests.serving.scarce REPOSITORY ...`: the service, with a runtime that holds only so many rows.

The number stands in the file that the environment variable CAPACITY_FILE names, and is read at every batch.
"""

import os
import sys
from pathlib import Path

from bundle.errors import OutOfMemory
from bundle.tensors import Tensors
from runtime.fake import FakeRuntime
from runtime.runtime import RUNTIMES
from serving.commands import serve_command

CAPACITY_FILE = "CAPACITY_FILE"


class ScarceRuntime(FakeRuntime):
    """The fake runtime on a small device."""

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch, if it fits."""
        rows = len(next(iter(batch.values())))
        capacity = int(Path(os.environ[CAPACITY_FILE]).read_text(encoding="ascii"))
        if rows > capacity:
            raise OutOfMemory(f"{rows} rows, and there is room for {capacity}")
        return super().run(batch)


if __name__ == "__main__":
    RUNTIMES["fake"] = "tests.serving.scarce:ScarceRuntime"
    serve_command(sys.argv[1:])
