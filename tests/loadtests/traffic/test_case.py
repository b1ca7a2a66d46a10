"""What an answer counts as: expected, wrong, refused for load as it should be, failed, or none at all."""

import pytest

from loadtests.traffic.case import Answer, Case, outcome_of


def case(problem: str | None = None) -> Case:
    return Case("oip", "json", "/x", "/x", b"", (), lambda _: problem)


@pytest.mark.parametrize(
    ("answer", "outcome", "why"),
    [
        (Answer(200, b""), "good", ""),
        (Answer(503, b'{"error":"full","code":"overloaded"}'), "shed", "503 overloaded: full"),
        (Answer(504, b'{"error":"late","code":"deadline_exceeded"}'), "shed", "504 deadline_exceeded: late"),
        (Answer(503, b'{"error":{"message":"full","code":"overloaded","type":"x","param":null}}'), "shed", "full"),
        (Answer(503, b"", {"code": "overloaded"}, "UNAVAILABLE: full"), "shed", "UNAVAILABLE: full"),
        (Answer(503, b'{"error":"not yet","code":"model_not_ready"}'), "failed", "503 model_not_ready: not yet"),
        (Answer(503, b"<html>no backend</html>"), "failed", "no backend"),
        (Answer(504, b""), "failed", "504"),
        (Answer(400, b'{"error":"what","code":"bad_input"}'), "failed", "bad_input"),
        (Answer(200, b"", {"code": "overloaded"}), "good", ""),
        (Answer(0, b"", error="ConnectionRefusedError: ..."), "unanswered", "ConnectionRefusedError"),
    ],
)
def test_outcomes(answer: Answer, outcome: str, why: str) -> None:
    got, told = outcome_of(case(), answer)
    assert got == outcome
    assert why in told


def test_another_answer_than_the_expected_one_is_wrong() -> None:
    assert outcome_of(case("label is dog, expected cat"), Answer(200, b"")) == ("wrong", "label is dog, expected cat")
