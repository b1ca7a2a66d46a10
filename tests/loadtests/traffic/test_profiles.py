"""The course of the load: the share of the rate at any moment, and how many users that is."""

import random
from itertools import pairwise

import pytest

from loadtests.traffic.families import TrafficError
from loadtests.traffic.pacing import CLOSED, CONSTANT, POISSON, Arrivals
from loadtests.traffic.profiles import PROFILES, Profile, Stage, num_users, parse_steps, step_profile


@pytest.mark.parametrize(
    ("name", "at_s", "share"),
    [
        ("steady", 0, 0.4),
        ("steady", 24.9, 0.4),
        ("steady", 25, None),
        ("ramp", 0, 0.1),
        ("ramp", 12.5, 0.35),
        ("ramp", 25, 0.6),
        ("ramp", 30, None),
        ("spike", 7.9, 0.3),
        ("spike", 8, 1.5),
        ("spike", 16, 0.3),
        ("spike", 32, None),
        ("overload", 1, 1.75),
        ("soak", 44, 0.4),
    ],
)
def test_the_share_at_a_moment(name: str, at_s: float, share: float | None) -> None:
    assert PROFILES[name].share(at_s) == pytest.approx(share)


def test_stretching_keeps_the_shares() -> None:
    ramp = PROFILES["ramp"]
    slow = ramp.stretched(3)
    assert slow.seconds == 3 * ramp.seconds
    assert [slow.share(3 * at) for at in range(30)] == pytest.approx([ramp.share(at) for at in range(30)])
    assert slow.share(slow.seconds) is None


def test_steps_follow_each_other() -> None:
    steps = step_profile(parse_steps("0.5,1,2"), 10)
    assert [steps.share(at) for at in (0, 9.9, 10, 25, 30)] == [0.5, 0.5, 1.0, 2.0, None]
    assert steps.starts_s() == [0, 10, 20]


@pytest.mark.parametrize("text", ["", "0.5,", "a", "0", "-1", "nan", "inf"])
def test_steps_that_are_no_shares_are_refused(text: str) -> None:
    with pytest.raises(TrafficError, match="give positive numbers"):
        parse_steps(text)


def test_a_stage_may_fall() -> None:
    assert Profile((Stage(10, 1.0, 0.0),)).share(2.5) == pytest.approx(0.75)


def test_users_make_the_rate() -> None:
    assert [num_users(rate, 5) for rate in (0.1, 5, 12, 100)] == [1, 1, 2, 20]


def arrivals(pacing: str, rate: float = 10.0) -> Arrivals:
    return Arrivals(pacing, rate, 100.0, random.Random(7))  # noqa: S311


def test_open_arrivals_do_not_wait_for_answers() -> None:
    """However late the sender is, each request counts from when it fell due, and as many fall due."""
    prompt, held_up = arrivals(POISSON), arrivals(POISSON)
    on_time = [prompt.take(prompt.due) for _ in range(2000)]
    late = [held_up.take(1e6) for _ in range(2000)]
    assert on_time == late
    assert (on_time[-1] - 100) / 2000 == pytest.approx(1 / 10, rel=0.1)
    gaps = sorted(b - a for a, b in pairwise(on_time))
    assert gaps[len(gaps) // 2] == pytest.approx(0.0693, rel=0.1)  # ln 2 of the mean: exponential, not even
    assert prompt.is_open


def test_an_even_beat_is_not_made_up_for() -> None:
    beat = arrivals(CONSTANT)
    first = beat.due
    assert 100 <= first <= 100.1
    beat.take(first)
    assert beat.due == pytest.approx(first + 0.1)
    beat.take(first + 5)
    assert beat.wait_s(first + 5) == 0.0
    assert not beat.is_open


def test_a_closed_loop_asks_at_once_and_counts_from_now() -> None:
    loop = arrivals(CLOSED)
    assert loop.wait_s(100) == 0
    assert loop.take(123.0) == 123.0
    assert loop.wait_s(123.0) == 0
