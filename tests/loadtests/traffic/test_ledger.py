"""The ledger: nothing is lost when processes add up, percentiles are near, recovery and lost requests are seen."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.traffic.case import Outcome
from loadtests.traffic.counters import apart, differences, parse
from loadtests.traffic.ledger import Ended, Ledger, Times
from loadtests.traffic.measures import family_measures, outstanding, rate, recovery_s
from loadtests.traffic.profiles import Profile, flat

Noted = tuple[str, Outcome, float, float]
NOTED = st.tuples(
    st.sampled_from(["classify raw", "classify json", "oip binary"]),
    st.sampled_from(["good", "wrong", "shed", "failed", "unanswered"]),
    st.floats(0, 20),
    st.floats(0, 3),
)
STATUS = {"good": 200, "wrong": 200, "shed": 503, "failed": 500, "unanswered": 0}


def ledger_of(noted: list[Noted]) -> Ledger:
    ledger = Ledger()
    for name, outcome, due, took in noted:
        ledger.note(Ended(name, "/" + name, STATUS[outcome], outcome, outcome, due, due, due + took, 1000))
    return ledger


@given(st.lists(NOTED), st.lists(NOTED))
def test_two_processes_add_up_to_one(some: list[Noted], others: list[Noted]) -> None:
    added = ledger_of(some)
    added.add(Ledger.from_plain(json.loads(json.dumps(ledger_of(others).to_plain()))))
    together = ledger_of([*some, *others])
    assert {**added.to_plain(), "series": 0} == {**together.to_plain(), "series": 0}
    for name, series in together.series.items():
        assert (series.outcomes, series.codes, series.times) == (
            added.series[name].outcomes,
            added.series[name].codes,
            added.series[name].times,
        )


@given(st.lists(st.floats(0.02, 1e5), min_size=1), st.floats(0.01, 1))
def test_percentiles_are_within_a_hundredth(values: list[float], share: float) -> None:
    times = Times()
    for value in values:
        times.add(value)
    exact = sorted(values)[math.ceil(len(values) * share) - 1]
    assert times.percentile(share) == pytest.approx(exact, rel=0.011)


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(Times().percentile(0.5))


def test_a_family_is_all_of_its_forms() -> None:
    ledger = ledger_of([("classify raw", "good", 0, 1), ("classify json", "shed", 0, 1), ("oip binary", "good", 0, 1)])
    assert ledger.families == ["classify", "oip"]
    measured = family_measures(ledger.of("classify"), ledger.of("oip"))
    assert (measured["shed_share"], measured["answered_share"], measured["p50_over_calm"]) == (0.5, 0.5, 1.0)


def test_what_came_after_its_deadline_is_late() -> None:
    ledger = ledger_of([("classify raw", "good", 0, 1.2), ("classify raw", "good", 0, 0.8)])
    assert family_measures(ledger.whole, None)["late_share"] == 0.5


def test_the_rate_leaves_out_beginning_and_end() -> None:
    ledger = ledger_of([("oip json", "good", second + i / 10, 0) for second in range(10) for i in range(5)])
    assert rate(ledger) == 5.0
    assert math.isnan(rate(Ledger()))


def spiked(clearing_s: float) -> Ledger:
    """One a second for ten seconds, twenty a second for five, which take `clearing_s` to be cleared, one a second."""
    calm = [("oip json", "good", float(second), 0.5) for second in (*range(10), *range(15, 40))]
    burst = [("oip json", "good", 10 + i / 20, 15 + clearing_s - (10 + i / 20)) for i in range(100)]
    return ledger_of([*calm, *burst])  # type: ignore[list-item]


@pytest.mark.parametrize("clearing_s", [0.5, 3.5, 12.5])
def test_recovery_is_when_no_more_is_under_way_than_before(clearing_s: float) -> None:
    profile = Profile((flat(10, 1), flat(5, 20), flat(25, 1)))
    assert recovery_s(spiked(clearing_s), profile) == int(clearing_s)


def test_what_never_recovers_is_infinitely_late() -> None:
    profile = Profile((flat(10, 1), flat(5, 20), flat(25, 1)))
    lost = spiked(0.5)
    lost.ended.clear()
    lost.ended[39] = 1
    assert recovery_s(lost, profile) == math.inf
    assert math.isnan(recovery_s(lost, Profile((flat(10, 1),))))


def test_what_is_under_way_is_counted_by_second() -> None:
    ledger = ledger_of([("oip json", "good", 0.5, 0.1), ("oip json", "shed", 0.6, 1.0), ("oip json", "good", 2, 1.5)])
    assert outstanding(ledger) == {0: 1, 1: 0, 2: 1, 3: 0}


SCRAPE = """# TYPE modelyard_requests_total counter
modelyard_requests_total{code="200",route="/oip json"} 7.0
modelyard_requests_total{code="503",route="/oip json"} 1.0
modelyard_requests_total{code="200",route="/v1/models"} 5.0
"""


def test_the_servers_count_is_held_to_ours() -> None:
    ledger = ledger_of([("oip json", "good", 0, 0.1)] * 4 + [("oip json", "shed", 0, 0.1)])
    before = {("/oip json", 200): 3}
    assert differences(before, parse(SCRAPE), ledger) == []
    assert apart(before, parse(SCRAPE), ledger) == 0
    more = ledger_of([("oip json", "wrong", 0, 0.1), ("oip json", "unanswered", 0, 0.1)])
    assert differences(before, parse(SCRAPE), more) == [
        "/oip json 200: the server counted 4, here 1",
        "/oip json 503: the server counted 1, here 0",
    ]
    assert apart(before, parse(SCRAPE), more) == 4


def test_buckets_hold_any_time() -> None:
    times = Times()
    for ms in (0.0, 1e-9, 1e9, 0.5):
        times.add(ms)
    assert times.count == 4
