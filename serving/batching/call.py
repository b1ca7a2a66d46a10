"""One request as the queue sees it: when it came, how long it may take, how urgent it is, and where its time went.

Knows clocks. Knows nothing of HTTP, gRPC or models.
"""

import math
import os
import re
import time
from itertools import count

from bundle.errors import BadInput

HIGHEST_PRIORITY = 1
DEFAULT_PRIORITY = 2
"""What a request has that names none, and what the protocol's 0 means; larger numbers wait longer."""

PHASES = ("parse", "prepare", "queue", "compute", "decode", "encode")
"""In the order of a request's life."""

SANE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
"""What a request id may look like to be taken over: it goes into logs and headers."""

now = time.perf_counter
"""The one clock of deadlines and phases, in seconds."""


class Call:
    """One request, from its first byte to the last of its answer."""

    __slots__ = ("alone", "arrived", "deadline", "gone", "model", "phases", "priority", "request_id", "version")

    def __init__(self, request_id: str = "") -> None:
        self.arrived = now()
        self.deadline = math.inf
        self.priority = DEFAULT_PRIORITY
        self.alone = False
        """No other request is under way: there is nobody to share a batch with."""
        self.gone = False
        """The client went away: whoever holds rows of this call drops them before they cost anything."""
        self.request_id = request_id
        self.model = ""
        """Which model answers, once that is known, and which version."""
        self.version = 0
        self.phases: dict[str, float] = {}
        """Seconds by phase, filled in as the request goes."""

    def answer_within(self, seconds: float) -> None:
        """Set the deadline, counted from the arrival; of several the earliest holds."""
        self.deadline = min(self.deadline, self.arrived + seconds)

    def urgency(self, priority: int) -> None:
        """Set the priority; 0 is the default."""
        self.priority = priority or DEFAULT_PRIORITY


def timeout_s(text: str) -> float:
    """The value of the header X-Request-Timeout-Ms, in seconds.

    Raises:
        BadInput: not a positive number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadInput(f"X-Request-Timeout-Ms is {text!r}; send a positive number of milliseconds") from None
    return value / 1e3


_PROCESS = os.urandom(6).hex()
_NUMBER = count(1)


def request_id(given: bytes | None) -> str:
    """The id that came with a request where it is sane, otherwise a new one: unique, and cheap."""
    if given is not None and SANE_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS}-{next(_NUMBER):x}"
