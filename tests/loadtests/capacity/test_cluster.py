"""Pods start, die, roll over and are scaled, and every request has one end."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.capacity.arrivals import Bursts, Load, steady
from loadtests.capacity.cluster import IN_FLIGHT, ClusterSpec, Loss, Rollout, Scaling, simulate
from loadtests.capacity.hpa import HpaSpec
from loadtests.capacity.outcome import End, Objective, Outcome
from loadtests.capacity.pod import PodSpec
from loadtests.capacity.service_times import ServiceTimes
from loadtests.capacity.spreading import SPREADING, Balance

POD = PodSpec(ServiceTimes({1: 10.0}))


@given(
    rate=st.floats(5, 300), pods=st.integers(1, 4), queue=st.integers(1, 20), largest=st.integers(1, 4),
    balance=st.sampled_from(list(SPREADING)), lost=st.integers(0, 5), surge=st.integers(0, 2), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_every_request_has_one_end_and_no_answer_is_quicker_than_its_batch(
    rate: float, pods: int, queue: int, largest: int, balance: Balance, lost: int, surge: int, seed: int
) -> None:
    pod = PodSpec(ServiceTimes({1: 10.0, 4: 25.0}, prepare_ms=1.0), largest, max_queue=queue, timeout_s=0.2)
    cluster = ClusterSpec(
        pods, balance, start_s=0.5, notice_s=0.2, losses=(Loss(1, lost),), rollout=Rollout(2, surge, 1)
    )
    seen = simulate(pod, cluster, steady(rate, 4).moments(seed), seed)
    answered = seen.ends == End.ANSWERED
    assert np.isfinite(seen.latency_s[answered]).all()
    assert np.isinf(seen.latency_s[~answered]).all()
    assert (seen.latency_s[answered] >= 0.011 - 1e-9).all()
    assert sum(size * number for size, number in seen.batches.items()) == answered.sum()
    assert max(seen.batches, default=0) <= largest


def test_the_same_seed_gives_the_same_run() -> None:
    spec = PodSpec(ServiceTimes({1: 10.0}, spread=0.3))
    runs = [simulate(spec, ClusterSpec(2), steady(100, 10).moments(3), seed=3) for _ in range(2)]
    assert np.array_equal(runs[0].latency_s, runs[1].latency_s)


def test_knowing_how_busy_pods_are_helps_and_turns_help_more_than_chance() -> None:
    balances: list[Balance] = ["least", "round-robin", "two", "random"]
    p99 = [simulate(POD, ClusterSpec(8, one), steady(560, 30).moments(1)).percentile_ms(0.99) for one in balances]
    assert p99[0] < p99[2] < p99[3]
    assert p99[1] < p99[3]


def test_requests_are_spread_evenly() -> None:
    for name, make in SPREADING.items():
        class_pods = [type("P", (), {"in_flight": 0})() for _ in range(4)]
        spread = make(4000, np.random.default_rng(0))
        shares = Counter(spread(class_pods, i) for i in range(4000))
        assert min(shares.values()) > 850, name


def test_a_dead_pod_loses_its_share_until_it_is_noticed_and_is_replaced() -> None:
    cluster = ClusterSpec(4, start_s=5, notice_s=1, losses=(Loss(10, 1),))
    seen = simulate(POD, cluster, steady(100, 30).moments(1))
    lost = seen.arrived_s[seen.ends == End.LOST]
    assert 15 <= len(lost) <= 45  # a quarter of a second's requests, and what it had
    assert lost.min() > 9.8
    assert lost.max() < 11
    assert [ready for moment, ready, _ in seen.pods if moment >= 10] == [3, 4]


def test_a_cluster_without_pods_answers_nobody_until_one_is_there() -> None:
    seen = simulate(POD, ClusterSpec(1, start_s=5, losses=(Loss(10, 1),)), steady(20, 30).moments(1))
    lost = seen.arrived_s[seen.ends == End.LOST]
    assert lost.max() < 15
    assert len(lost) == ((seen.arrived_s > 10) & (seen.arrived_s < 15)).sum()


@pytest.mark.parametrize(("surge", "unavailable", "fewest", "most"), [(1, 0, 4, 4), (0, 1, 3, 4), (2, 1, 3, 5)])
def test_a_rollout_keeps_to_its_bounds_and_loses_nothing(surge: int, unavailable: int, fewest: int, most: int) -> None:
    cluster = ClusterSpec(4, start_s=2, rollout=Rollout(5, surge, unavailable))
    seen = simulate(POD, cluster, steady(80, 40).moments(1))
    assert seen.share_of(End.ANSWERED) == 1.0
    ready = [number for moment, number, _ in seen.pods if moment >= 5]
    assert (min(ready), seen.pods[-1][1]) == (fewest, 4)
    assert max(ready) <= most


def test_an_hpa_follows_the_load_up_and_down() -> None:
    hpa = HpaSpec({IN_FLIGHT: 1.0}, 2, 20)
    load = Load([(0, 100), (60, 100), (120, 500), (300, 500), (301, 50)], 900)
    seen = simulate(POD, ClusterSpec(2, start_s=10, scaling=Scaling(hpa, average_s=60)), load.moments(1))
    ready = {int(moment): number for moment, number, _ in seen.pods}
    assert seen.most_pods >= 7
    assert seen.pods[-1][1] < seen.most_pods
    assert max(number for moment, number in ready.items() if moment < 60) <= 4
    assert seen.share_of(End.LOST) == 0.0


def test_the_later_a_pod_answers_the_more_answers_are_late() -> None:
    hpa = HpaSpec({IN_FLIGHT: 1.0}, 2, 40)
    load = Load([(0, 100), (60, 100), (90, 300)], 180)
    arrivals = load.moments(1)
    bad = [
        simulate(POD, ClusterSpec(2, start_s=start, scaling=Scaling(hpa)), arrivals).share_bad(50) for start in (5, 90)
    ]
    assert bad[0] < bad[1]


def test_arrivals_follow_the_rate() -> None:
    load = Load([(0, 0), (10, 100), (20, 100), (30, 0)], 40)
    moments = load.moments(1)
    counts = np.histogram(moments, bins=[0, 10, 20, 30, 40])[0]
    expected = [500, 1000, 500, 0]
    assert all(abs(seen - wanted) <= 4 * np.sqrt(wanted) for seen, wanted in zip(counts, expected, strict=True))
    assert (np.diff(moments) >= 0).all()


@pytest.mark.parametrize("bursts", [Bursts(3, 0.1, 0.9), Bursts(2, 5, 15)])
def test_bursts_keep_the_mean_and_have_the_dispersion_that_is_told(bursts: Bursts) -> None:
    rate, seconds = 50.0, 20_000.0
    moments = steady(rate, seconds, bursts).moments(2)
    window = 50 * (bursts.burst_s + bursts.calm_s)
    counts = np.histogram(moments, bins=np.arange(0, seconds, window))[0]
    dispersion = counts.var(ddof=1) / counts.mean()
    assert counts.mean() == pytest.approx(rate * window, rel=4 * np.sqrt(bursts.dispersion(rate) / (rate * seconds)))
    assert dispersion == pytest.approx(bursts.dispersion(rate), rel=0.05 + 4 * np.sqrt(2 / len(counts)))


def test_bursts_that_would_need_a_rate_below_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="the factor between 1 and 4"):
        Bursts(5, 5, 15)


def test_the_worst_minute_decides() -> None:
    arrived = np.arange(0, 180, 0.1)
    late = (arrived > 60) & (arrived < 63)
    seen = Outcome(arrived, np.where(late, 1.0, 0.01), np.zeros(len(arrived), dtype=np.int8))
    assert seen.share_bad(100) == pytest.approx(0.0161, abs=1e-3)
    assert seen.worst_window(Objective(100)) == pytest.approx(0.0483, abs=2e-3)
    assert not seen.holds(Objective(100, share=0.04))
    assert seen.holds(Objective(100, share=0.05))
