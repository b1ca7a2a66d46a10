"""One request that can be sent as often as one likes, what came back, and what that means for whoever counts.

Knows statuses and the codes of the service's errors. Knows nothing of how bodies are written, sent or checked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Outcome = Literal["good", "wrong", "shed", "failed", "unanswered"]
"""good: the expected answer. wrong: 200 with another one. shed: refused for load, as the service is built to do under
overload. failed: any other status. unanswered: no answer came."""

SHED_CODES = ("overloaded", "deadline_exceeded")
"""Of the service's errors, those that say: too much at once. 503 for another reason is a failure."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    """Of HTTP; for gRPC what HTTP would have had; 0: nothing came."""
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    error: str = ""
    """gRPC's code and text of an error; of status 0, why nothing came."""


Check = Callable[[Answer], str | None]
"""A good answer -> what is wrong with it, or None."""


@dataclass(frozen=True)
class Case:
    """One request, whole."""

    family: str
    form: str
    route: str
    """As `modelyard_requests_total` calls it."""
    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    check: Check
    protocol: Literal["HTTP", "GRPC"] = "HTTP"

    @property
    def name(self) -> str:
        """In Locust's tables."""
        return f"{self.family} {self.form}"


def outcome_of(case: Case, answer: Answer) -> tuple[Outcome, str]:
    """What an answer is, and why where it is not good."""
    if answer.status == 0:
        return "unanswered", answer.error
    if answer.status == 200:
        problem = case.check(answer)
        return ("wrong", problem) if problem else ("good", "")
    code, text = error_of(answer)
    told = f"{answer.status} {code}: {text}"
    return ("shed" if code in SHED_CODES else "failed"), told


class _Told(msgspec.Struct):
    error: str | dict[str, str | None] = ""
    code: str = ""


def error_of(answer: Answer) -> tuple[str, str]:
    """(code, text) of an error in any of the service's shapes; what another program on the way says has no code."""
    if "code" in answer.headers:
        return answer.headers["code"], answer.error
    try:
        told = msgspec.json.decode(answer.body, type=_Told)
    except msgspec.MsgspecError:
        return "", answer.error or repr(answer.body[:200])
    if isinstance(told.error, dict):  # OpenAI's
        return str(told.error.get("code")), str(told.error.get("message"))
    return told.code, told.error
