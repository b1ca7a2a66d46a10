"""`--workers N`: a supervisor that starts N processes on one port, starts again what dies, and ends them all.

It holds the port without listening (SO_REUSEPORT), so that port 0 is one port for all and nobody takes it in between;
the system deals new connections out to the workers that listen. Each worker is `python -m serving` like any other, told
its place by the environment. Knows processes and signals. Knows nothing of models or HTTP.
"""

import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from serving.http.listening import address, listener
from serving.security.access import Access
from serving.security.tls import tls_files
from serving.settings import Settings
from serving.workers.shared import Place, Shared

log = logging.getLogger("modelyard.serving")

LOOK_S = 0.25
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""How long a place stays empty after its 1st, 2nd ... death in a row, so that crashes do not eat the others' time."""
STEADY_S = 60.0
"""A worker that lived for so long begins its row anew."""
HUNG_S = 30.0
"""A worker that has said nothing for so long will not come back by itself."""
GRACE_S = 5.0
"""What a worker gets beyond the drain limit, which it keeps itself, to close its models."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


@dataclass
class Worker:
    """A place and the process that has it."""

    index: int
    process: subprocess.Popen[bytes]
    generation: int = 0
    started: float = field(default_factory=time.monotonic)
    deaths: int = 0
    """In a row."""
    start_at: float | None = None
    """When the place, now empty, is given anew."""


class Supervisor:
    """N workers and their folder."""

    def __init__(self, command: Sequence[str], number: int, drain_s: float, folder: Path) -> None:
        self._command = list(command)
        self._drain_s = drain_s
        self._folder = folder
        self._figures = folder / "metrics"
        self._figures.mkdir()
        self._shared = Shared(folder, number)
        self._stop_signals = 0

    def run(self) -> int:
        """Keep the workers running until a signal; the exit code: 0 if all finished what they had."""
        with self._woken_by_signals() as wake:
            workers = [Worker(index, self._start(index, 0)) for index in range(self._shared.number)]
            code = 0
            try:
                while not self._stop_signals and code == 0:
                    wake(LOOK_S)
                    code = self._look_after(workers)
            finally:
                drained = self._end(workers, wake)
        return code or drained

    # Life

    def _start(self, index: int, generation: int) -> subprocess.Popen[bytes]:
        place = Place(str(self._folder), index, self._shared.number, os.getpid(), generation)
        code = str(Path(__file__).parents[2])  # so that the worker runs this very code, wherever it was started
        paths = filter(None, (code, os.environ.get("PYTHONPATH")))
        environment = {
            **os.environ,
            **place.as_environment(),
            "PROMETHEUS_MULTIPROC_DIR": str(self._figures),  # prometheus_client reads it when it is imported
            "PYTHONPATH": os.pathsep.join(paths),
        }
        # A group of its own: Ctrl-C in a terminal reaches the supervisor, which ends the workers in good order.
        return subprocess.Popen(self._command, env=environment, stdin=subprocess.DEVNULL, process_group=0)

    def _look_after(self, workers: list[Worker]) -> int:
        """What became of each; the exit code for a start that cannot succeed, else 0."""
        for worker in workers:
            if worker.start_at is not None:
                self._start_again(worker)
            elif (code := worker.process.poll()) is not None:
                if worker.generation == 0 and self._shared.reported(worker.index) is None:
                    return code if 0 < code < 126 else 1  # it never came up, and has said why
                self._mourn(worker, code)
            elif self._hangs(worker):
                log.error("%s has said nothing for %g s: killed", self._name(worker), HUNG_S)
                worker.process.kill()
        return 0

    def _mourn(self, worker: Worker, code: int) -> None:
        self._forget_figures(worker)
        now = time.monotonic()
        worker.deaths = worker.deaths + 1 if now - worker.started < STEADY_S else 1
        wait_s = BACKOFF_S[min(worker.deaths, len(BACKOFF_S)) - 1]
        worker.start_at = now + wait_s
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        log.error("%s ended by itself with %s; it is started again in %g s", self._name(worker), how, wait_s)
        self._start_again(worker)

    def _start_again(self, worker: Worker) -> None:
        now = time.monotonic()
        if worker.start_at is None or now < worker.start_at:
            return
        worker.generation += 1
        worker.started, worker.start_at = now, None
        worker.process = self._start(worker.index, worker.generation)

    def _hangs(self, worker: Worker) -> bool:
        report = self._shared.reported(worker.index)
        said = report.at if report is not None and report.pid == worker.process.pid else worker.started
        return time.monotonic() - said > HUNG_S

    def _forget_figures(self, worker: Worker) -> None:
        """What the dead counted still counts; what it said of the present (its gauges) does not."""
        mark_process_dead(worker.process.pid, str(self._figures))  # type: ignore[no-untyped-call]

    def _name(self, worker: Worker) -> str:
        return f"worker {worker.index + 1} of {self._shared.number} (process {worker.process.pid})"

    # End

    def _end(self, workers: list[Worker], wake: "Wake") -> int:
        running = [worker for worker in workers if worker.start_at is None]
        _signal(running, signal.SIGTERM)
        deadline, signals = time.monotonic() + self._drain_s + GRACE_S, self._stop_signals
        while any(worker.process.poll() is None for worker in running):
            if time.monotonic() > deadline or self._stop_signals > signals:
                late = [worker for worker in running if worker.process.poll() is None]
                log.error("%s: not finished in time, killed", ", ".join(map(self._name, late)))
                _signal(late, signal.SIGKILL)
                break
            wake(LOOK_S)
        # One that SIGTERM met before it could listen for it had accepted nothing.
        return 0 if all(worker.process.wait() in (0, -signal.SIGTERM) for worker in running) else 1

    # Signals

    @contextmanager
    def _woken_by_signals(self) -> Iterator["Wake"]:
        """A way to wait that a signal ends at once, whenever it comes; SIGTERM and SIGINT are counted."""
        ours, systems = socket.socketpair()
        for end in (ours, systems):
            end.setblocking(False)

        def stop(_number: int, _frame: object) -> None:
            self._stop_signals += 1

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        fd = signal.set_wakeup_fd(systems.fileno(), warn_on_full_buffer=False)
        try:
            yield Wake(ours)
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            ours.close()
            systems.close()


@dataclass(frozen=True)
class Wake:
    """Wait for a signal, or for so long."""

    signals: socket.socket

    def __call__(self, most_s: float) -> None:
        """Wait."""
        if select.select([self.signals], [], [], most_s)[0]:
            self.signals.recv(4096)


def _signal(workers: list[Worker], number: signal.Signals) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(number)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, in memory where there is such a place; it goes with its use."""
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="modelyard-", dir=MEMORY if in_memory else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def supervise(settings: Settings, arguments: Sequence[str]) -> int:
    """Serve with several processes until a signal; the exit code.

    Raises:
        BadInput: keys or TLS files that cannot be used. OSError: a port that cannot be listened on.
    """
    Access(settings)  # told once, here, and not by each worker
    tls = tls_files(settings)
    with ExitStack() as held:
        asked = {"port": settings.port, "grpc-port": settings.grpc_port, "metrics-port": settings.metrics_port}
        ports = {name: _hold(held, settings.host, port) for name, port in asked.items() if port is not None}
        where = address(settings.host, ports["port"], "https" if tls else "http")
        log.info("listening on %s with %d processes", where, settings.workers)
        if "grpc-port" in ports:
            log.info("gRPC listens on %s:%d", settings.host, ports["grpc-port"])
        if "metrics-port" in ports:
            log.info("metrics and health on %s", address(settings.host, ports["metrics-port"]))
        folder = held.enter_context(private_folder())
        return Supervisor(_command(arguments, ports), settings.workers, settings.drain_s, folder).run()


def _hold(held: ExitStack, host: str, port: int) -> int:
    """Take a port for the workers, which share it with us and with nobody else; its number."""
    if port:
        # SO_REUSEPORT alone would let two services of one user share a port without a word.
        listener(host, port).close()
    return int(held.enter_context(listener(host, port, shared=True)).getsockname()[1])


def _command(arguments: Sequence[str], ports: Mapping[str, int]) -> list[str]:
    """What a worker is started with: the same arguments, then the ports found for all; the last of two flags counts."""
    return [sys.executable, "-m", "serving", *arguments, *(f"--{name}={port}" for name, port in ports.items())]
