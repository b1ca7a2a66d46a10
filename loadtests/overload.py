"""More than can be answered: what is refused, what the admitted wait, and how soon the speed is back.

Most connections are driven hard; a few of them belong to the Python client, which sees codes and waits. Knows both
drivers. Knows nothing of models.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from loadtests.client import Client, Request, run
from loadtests.wrk import Figures, Target, drive_hard

CONNECTIONS = 200
WATCHING = 40
"""Of these, the Python client's."""
COMFORTABLE = 32
QUEUE_OF_DEADLINE = 2 * COMFORTABLE
"""The deadline is the time that so many requests take: enough for 32 connections, far too short for 200."""
SETTLE_S = 1.0


@dataclass(frozen=True)
class Overload:
    """What a server did with more than it can answer."""

    connections: int
    deadline_ms: float
    comfortable_per_second: float
    """Good answers at 32 connections, just before."""
    good_per_second: float
    refused_per_second: float
    admitted_p50_ms: float
    admitted_p99_ms: float
    """Of good answers, as the watching connections saw them."""
    recovered_per_second: float
    """Good answers at 32 connections, from one second after the load's end."""
    broken: int
    wrong: int
    codes: dict[int, int] = field(default_factory=Counter)
    """As the watching connections saw them."""


def overload(target: Target, header_name: str, golden: Sequence[Request], seconds: float) -> Overload:
    """`golden` are requests that carry no deadline yet; `header_name` is the deadline's, in milliseconds."""
    drive_hard(target, COMFORTABLE, seconds)
    before = drive_hard(target, COMFORTABLE, seconds)
    deadline_ms = round(1e3 * QUEUE_OF_DEADLINE / max(1.0, before.per_second))
    header = f"{header_name}: {deadline_ms}"
    hurried = [Request(one.wire.replace(b"\r\n", f"\r\n{header}\r\n".encode(), 1), one.check) for one in golden]
    client = Client(target.port, hurried, WATCHING)
    watching = threading.Thread(target=run, args=(client.run(seconds + 60),))
    watching.start()
    try:
        during = drive_hard(replace(target, header=header), CONNECTIONS - WATCHING, seconds)
    finally:
        client.stopped = True
        watching.join()
    time.sleep(SETTLE_S)
    after = drive_hard(target, COMFORTABLE, seconds)
    return _told(client, deadline_ms, before, during, after)


def _told(client: Client, deadline_ms: float, before: Figures, during: Figures, after: Figures) -> Overload:
    seen = client.load
    return Overload(
        connections=CONNECTIONS,
        deadline_ms=deadline_ms,
        comfortable_per_second=before.per_second,
        good_per_second=during.per_second + seen.codes[200] / seen.seconds,
        refused_per_second=during.refused_per_second + (seen.answered - seen.codes[200]) / seen.seconds,
        admitted_p50_ms=seen.p50_ms,
        admitted_p99_ms=seen.p99_ms,
        recovered_per_second=after.per_second,
        broken=during.broken + len(seen.lost) + seen.refused,
        wrong=len(seen.wrong),
        codes=dict(sorted(seen.codes.items())),
    )
