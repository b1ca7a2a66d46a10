"""Two services under load, with everything happening to them that a panel or an alert is about.

One is a process alone whose machine fails when told to (faulty.py), one is `modelyard serve --workers 2` as it is; a
scoring job runs beside them. Golden inputs are asked and their answers checked. Knows what to provoke. Knows nothing of
Prometheus.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
from pyarrow import parquet

from loadtests.client import Client, Load, post, run
from loadtests.questions import questions
from loadtests.server import ROOT, Server, family, free_port, ready
from tests.builders import LABELS, png, write_fake_bundle, write_fake_task_bundle
from tests.conformance.examples import EXAMPLES, KINDS

SECONDS = 120.0
"""So that drift has its hundred samples, at two a second at the most, on a busy machine too."""
STEADY = ("picture", "text", "series", "fallback")
REFERENCE = {"label_share": [0.01, 0.01, 0.98], "score_histogram": [0.0] * 9 + [1.0]}
"""Of another test split than what is asked: drift."""
GOLDEN = ("--golden-every-s", "2", "--golden-failures-to-die", "1000")
JOB_ROWS, JOB_TIMES, BAD_EVERY, NUM_STEPS = 20_000, 12, 10, 24
"""So many rows, so many times over: a job must be scraped more than once, also on a quick machine."""


def write_models(repository: Path, *, sound: bool) -> None:
    """A repository: where it is not sound, one model is damaged."""
    write_fake_bundle(repository, "picture", reference=REFERENCE)
    (repository / "picture/serving.toml").write_text("canary = {version = 2, share = 1.0}\n", encoding="utf-8")
    write_fake_bundle(repository, "slow")
    (repository / "slow/serving.toml").write_text("max_queue = 8\nmax_batch_size = 4\n", encoding="utf-8")
    write_fake_bundle(repository, "fallback")
    (repository / "fallback/serving.toml").write_text('precision = "int8"\n', encoding="utf-8")
    for name, task, kind in (
        ("text", "text-classification", "text-tokens"),
        ("series", "series-anomaly-detection", "series"),
    ):
        asked = KINDS[kind]
        raws = [(asked.media_type, raw) for raw in asked.raws]
        preprocess, decode = asked.preprocess[0], EXAMPLES[task].decode
        write_fake_task_bundle(repository, name, task, preprocess, decode, raws, dict(asked.assets))
    damaged = write_fake_bundle(repository, "damaged")
    if not sound:
        (damaged / "model.fake.json").write_bytes(b"{}")


class Rehearsal:
    """What runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults, self.alone_models, self.fleet_models = folder / "faults", folder / "alone", folder / "fleet"
        self.faults.mkdir(parents=True)
        write_models(self.alone_models, sound=False)
        write_models(self.fleet_models, sound=True)
        self.metrics_ports = {"alone": free_port(), "fleet": free_port(), "job": free_port()}
        self.alone = self._serve(
            "alone", "k8s.monitoring.faulty", str(self.faults), str(self.alone_models), "--here-ms", "0"
        )
        self.fleet = self._serve("fleet", "serving", str(self.fleet_models), "--workers", "2")
        self.told: dict[str, object] = {}

    def _serve(self, name: str, module: str, *arguments: str) -> Server:
        port = free_port()
        command = [sys.executable, "-m", module, *arguments, "--port", str(port), *GOLDEN,
                   "--metrics-port", str(self.metrics_ports[name])]  # fmt: skip
        return Server(name, port, "/v2/health/ready", command)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Both services answer inside."""
        with ready(self.alone, self.fleet):
            yield

    def play(self) -> None:
        """Everything, from beginning to end; takes SECONDS.

        Raises:
            RuntimeError: an answer was wrong, or none was right.
        """
        loads = [*self._steady(), *self._too_much()]
        threads = [threading.Thread(target=run, args=(client.run(SECONDS),)) for client in loads]
        for thread in threads:
            thread.start()
        try:
            with self._job() as job:
                self._incidents()
                self.told["scoring job"] = f"exit code {job.wait()}"
            for thread in threads:
                thread.join()
        finally:
            for client in loads:
                client.stopped = True
        self._look_at([client.load for client in loads], wrong_of_fleet=loads[1].load.wrong)

    def _steady(self) -> list[Client]:
        """Golden inputs of four families, to both services."""
        clients = []
        for server, models, rate in ((self.alone, self.alone_models, 60.0), (self.fleet, self.fleet_models, 30.0)):
            golden = [request for name in STEADY for request in questions(models / name).golden]
            clients.append(Client(server.port, golden, connections=4, rate=rate))
        drifting = questions(self.alone_models / "picture").golden
        return [*clients, Client(self.alone.port, drifting, connections=2, rate=20.0)]

    def _too_much(self) -> list[Client]:
        """More than `slow` can answer, and deadlines that nobody can keep."""
        picture, port = png(), self.alone.port
        patient = post("/v1/classify?model=slow", "image/png", picture)
        hurried = post("/v1/classify?model=slow", "image/png", picture, headers=["X-Request-Timeout-Ms: 300"])
        absurd = post("/v1/classify?model=fallback", "image/png", picture, headers=["X-Request-Timeout-Ms: 0.01"])
        return [Client(port, [patient], 24, rate=32.0), Client(port, [hurried, absurd], 8, rate=16.0)]

    def _incidents(self) -> None:
        """One after the other; each lasts a few scrapes."""
        faults = self.faults
        began = time.monotonic()
        for at_s, happens in (
            (3, (faults / "slow").touch),
            (10, self._publish),
            (25, self._kill_a_worker),
            (30, (faults / "canary").touch),
            (35, self._kill_a_worker),
            (40, (faults / "wrong").touch),
            (42, (faults / "broken").touch),
            (45, self._kill_a_worker),
            (50, (faults / "wrong").unlink),
            (50, (faults / "broken").unlink),
            (55, self._kill_a_worker),
            (55, (faults / "memory").touch),
            (70, (faults / "gpu-lost").touch),
            (75, (faults / "memory").unlink),
            (80, self._leave_early),
            (SECONDS, lambda: None),
        ):
            time.sleep(max(0.0, began + at_s - time.monotonic()))
            happens()

    def _publish(self) -> None:
        """A new version, that answers otherwise: a canary."""
        for models in (self.alone_models, self.fleet_models):
            write_fake_bundle(models, "picture", labels=LABELS[::-1], reference=REFERENCE)

    def _kill_a_worker(self) -> None:
        workers = family(self.fleet.process.pid)[1:]
        if workers:
            os.kill(workers[-1], signal.SIGKILL)

    def _leave_early(self) -> None:
        """Clients that ask and go away before the answer."""
        path = "/v1/classify?model=slow"
        wire = post(path, "image/png", png()).wire
        for _ in range(12):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.alone.port), timeout=5) as gone,
            ):
                gone.sendall(wire)
                time.sleep(0.2)

    @contextmanager
    def _job(self) -> Iterator[subprocess.Popen[bytes]]:
        """A scoring job with bad rows."""
        rows = self.folder / "rows.parquet"
        beats = [[1.0] * (1 if row % BAD_EVERY == 0 else NUM_STEPS) for row in range(JOB_ROWS)]
        parquet.write_table(pyarrow.concat_tables([pyarrow.table({"series": beats})] * JOB_TIMES), rows)
        command = [sys.executable, "modelyard.py", "score", str(self.fleet_models / "series"), str(rows),
                   str(self.folder / "scored"), "--metrics-port", str(self.metrics_ports["job"])]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
            try:
                yield job
            finally:
                job.kill()

    def _look_at(self, loads: list[Load], wrong_of_fleet: list[str]) -> None:
        codes = sum((Counter(load.codes) for load in loads), Counter[int]())
        self.told |= {
            "answers by code": dict(codes),
            "wrong answers of the service without faults": len(wrong_of_fleet),
            "connections cut": sum(len(one.lost) for one in loads),
        }
        if wrong_of_fleet:
            raise RuntimeError(f"{len(wrong_of_fleet)} golden answers are wrong, e.g. {wrong_of_fleet[0]}")
        if not codes[200] or not codes[503] or not codes[504]:
            raise RuntimeError(f"the load did not provoke what it should: {self.told}")
