"""A Ray cluster of two nodes on this machine, in a process of its own, and how one of them is killed."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scoring.running import environment

CODE = """
import sys
from ray.cluster_utils import Cluster

patience = {"initial_delay_ms": 1000, "period_ms": 500, "timeout_ms": 5000, "failure_threshold": 4}
patience = {f"health_check_{name}": value for name, value in patience.items()}
small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(True, head_node_args={"num_cpus": 1, "_system_config": patience, **small})
other = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(other, allow_graceful=False)
    else:
        other = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    print("done", flush=True)
cluster.shutdown()
"""


class TwoNodes:
    """One processor each; the driver's is never the one that is killed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = self._read()

    def kill_one(self) -> None:
        """As if its machine lost power: nothing on it ends in order."""
        self._tell("kill")

    def add_one(self) -> None:
        """In its place."""
        self._tell("add")

    def _tell(self, what: str) -> None:
        assert self._process.stdin
        print(what, file=self._process.stdin, flush=True)
        assert self._read() == "done"

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def _alone() -> Iterator[None]:
    with Path(tempfile.gettempdir(), f"modelyard-ray-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def two_nodes(folder: Path) -> Iterator[TwoNodes]:
    """A cluster whose nodes work in a folder; one at a time on a machine, whichever processes ask for it.

    By a lock, because groups of pytest-xdist 3.8 do not keep tests together under pytest 9.2.
    """
    changes = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    with (
        _alone(),
        (folder / "cluster.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, cwd=folder, env=environment(changes),
        ) as process,
    ):  # fmt: skip
        cluster = TwoNodes(process)
        assert ":" in cluster.address, (folder / "cluster.log").read_text()
        try:
            yield cluster
        finally:
            process.communicate(timeout=60)
