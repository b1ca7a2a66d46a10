"""SIGTERM under load: every request that was sent must be answered, and the process must go with exit code 0.

`python -m loadtests.stop REPOSITORY`. Knows the Python client and the service's process. Knows nothing of models.
"""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from loadtests.client import Client, Request, run
from loadtests.questions import questions
from loadtests.server import Server, start_service

LOADED_S = 1.5
LIMIT_S = 60.0


@dataclass(frozen=True)
class Stop:
    """How a server went."""

    connections: int
    answered: int
    after_the_signal: int
    """Of these, answers that came after it."""
    codes: dict[int, int]
    wrong: int
    lost: tuple[str, ...]
    """Requests that were sent and never answered, and why."""
    exit_code: int
    took_s: float
    """From the signal to the end of the process."""


def stop_under_load(server: Server, golden: Sequence[Request], connections: int, loaded_s: float = LOADED_S) -> Stop:
    """Load, signal, and go on asking until nobody accepts connections any more."""
    client = Client(server.port, golden, connections)
    asking = threading.Thread(target=run, args=(client.run(LIMIT_S),))
    asking.start()
    try:
        time.sleep(loaded_s)
        before = client.load.answered
        server.terminate()
        start = time.perf_counter()
        server.process.wait(LIMIT_S)
        took_s = time.perf_counter() - start
    finally:
        client.stopped = True
        asking.join()
        server.stop()
    load = client.load
    return Stop(
        connections=connections,
        answered=load.answered,
        after_the_signal=load.answered - before,
        codes=dict(sorted(load.codes.items())),
        wrong=len(load.wrong),
        lost=tuple(load.lost),
        exit_code=server.process.returncode,
        took_s=took_s,
    )


def stop(
    repository: tyro.conf.Positional[Path],
    /,
    model: str = "tiny",
    connections: int = 32,
    times: int = 5,
    new_connections: bool = False,
    flags: tuple[str, ...] = (),
) -> int:
    """Start the service, load it, end it, several times; 1 where a request was lost or an exit code was not 0.

    Args:
        repository: folder of bundles
        model: which of them is asked
        new_connections: a new connection for every request, so that some are always about to be accepted
        flags: of the service
    """
    asked = questions(repository / model)
    golden = asked.checked(asked.path, "Connection: close") if new_connections else asked.golden
    failed = False
    for _ in range(times):
        server = start_service(repository, *flags)
        server.wait_until_ready()
        seen = stop_under_load(server, golden, connections)
        print(
            f"{seen.answered} answers {seen.codes}, {seen.after_the_signal} after SIGTERM; lost {len(seen.lost)}, "
            f"wrong {seen.wrong}; exit code {seen.exit_code} after {seen.took_s:.2f} s"
        )
        print("".join(f"  lost: {why}\n" for why in sorted(set(seen.lost))), end="", file=sys.stderr)
        failed |= bool(seen.lost or seen.wrong or seen.exit_code)
    return int(failed)


if __name__ == "__main__":
    sys.exit(tyro.cli(stop, prog="python -m loadtests.stop"))
