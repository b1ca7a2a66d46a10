"""A name for every request: the caller's own where it is sane, else one of ours; it stands in logs, traces and answers.

Knows bytes of a header. Knows nothing of who reads the name.
"""

import itertools
import os
import re
from contextvars import ContextVar

HEADER = b"x-request-id"
SANE = re.compile(rb"[!-~]{1,128}")
"""Visible ASCII without blanks: nothing that breaks a line of a log or of a header."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this task answers, for its lines in the log."""

_PROCESS = os.urandom(6).hex()
_numbers = itertools.count(1)


def request_id_of(given: bytes | None) -> str:
    """The name of a request; `given` is what its header says, if anything."""
    if given is not None and SANE.fullmatch(given):
        return given.decode("ascii")
    # Unlike in every process and every request; a UUID costs six times as much.
    return f"{_PROCESS}-{next(_numbers):x}"
