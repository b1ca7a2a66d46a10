"""Memory comes back when a model goes: after fifty times loaded, asked and unloaded a process is as large as before."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.running import ROOT, environment_with

pytest.importorskip("onnx", reason="the model is made with onnx")

HIDDEN = 2048  # 25 MB of weights
WEIGHTS_BYTES = 32 * 32 * 3 * HIDDEN * 4
NUM_CYCLES = 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fifty_cycles_of_load_and_unload_leave_no_memory_behind(tmp_path: Path) -> None:
    from tests.serving.onnx_bundles import write_onnx_bundle

    write_onnx_bundle(tmp_path, "heavy", HIDDEN)
    command = [sys.executable, "-m", "tests.serving.cycles", str(tmp_path), str(NUM_CYCLES)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=environment_with({})
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert min(seen["loaded"]) > seen["empty"] + 0.9 * WEIGHTS_BYTES, "the model is in memory when it is loaded"
    assert max(seen["unloaded"]) < seen["empty"] + WEIGHTS_BYTES / 3, "and is not when it is unloaded"
    later, last = seen["unloaded"][10:20], seen["unloaded"][-10:]
    assert sum(last) / 10 < sum(later) / 10 + WEIGHTS_BYTES / 10, "nothing grows from cycle to cycle"
