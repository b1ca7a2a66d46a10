import re

from serving.families import PHASES
from serving.server_timing import server_timing


def test_phases_are_told_in_milliseconds_and_in_their_order() -> None:
    assert server_timing({"prepare": 0.0012, "queue": 0.00003, "compute": 2.5}) == (
        "prepare;dur=1.200, queue;dur=0.030, compute;dur=2500.000"
    )


def test_no_phases_are_an_empty_value() -> None:
    assert server_timing({}) == ""


def test_the_value_is_what_the_header_may_hold() -> None:
    assert re.fullmatch(r"(\w+;dur=\d+\.\d+(, )?)+", server_timing(dict.fromkeys(PHASES, 123.456)))
