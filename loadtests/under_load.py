"""Drive hard with one tool while another asks golden inputs on a connection of its own and checks every answer.

Knows both drivers. Knows nothing of models.
"""

import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from loadtests.client import Client, Load, Request, drive, run
from loadtests.wrk import Figures, Target, drive_hard

CHECKS_PER_SECOND = 10.0  # enough to see every golden input, and no load beside thousands
ALONE_S = 0.2
SHOWN = 3


@dataclass(frozen=True)
class Checked(Figures):
    """Figures, and what the checking connection saw."""

    checked: int
    """Good answers that were compared with what is expected."""
    wrong: int
    """Of these, answers that differ, and requests that were never answered."""


def drive_and_check(target: Target, golden: Sequence[Request], connections: int, seconds: float) -> Checked:
    """Both at once; a single connection is not disturbed, and the answers are checked right after."""
    if connections == 1:
        figures = drive_hard(target, connections, seconds)
        return _joined(figures, drive(target.port, golden, 1, ALONE_S))
    client = Client(target.port, golden, 1, CHECKS_PER_SECOND)
    checking = threading.Thread(target=run, args=(client.run(seconds + 60),))
    checking.start()
    try:
        figures = drive_hard(target, connections, seconds)
        checked_per_second = client.load.codes[200] / seconds  # answers like the others: where few are, they count
    finally:
        client.stopped = True
        checking.join()
    return _joined(replace(figures, per_second=figures.per_second + checked_per_second), client.load)


def _joined(figures: Figures, seen: Load) -> Checked:
    for problem in (*seen.wrong[:SHOWN], *seen.lost[:SHOWN]):
        print(f"wrong answer under load: {problem}", file=sys.stderr)
    return Checked(**asdict(figures), checked=seen.codes[200], wrong=len(seen.wrong) + len(seen.lost) + seen.refused)
