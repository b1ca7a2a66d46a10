"""The simulation against what is known of queues; tolerances are the simulation's own standard errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.capacity.arrivals import steady
from loadtests.capacity.cluster import IN_FLIGHT, ClusterSpec, Scaling, simulate
from loadtests.capacity.hpa import HpaSpec
from loadtests.capacity.outcome import Outcome
from loadtests.capacity.pod import PodSpec
from loadtests.capacity.service_times import ServiceTimes
from loadtests.capacity.theory import (
    busy_within,
    erlang_c,
    mean_wait_md1,
    mean_wait_mm1,
    mean_wait_mmc,
    wait_exceeded,
)

SERVICE_S = 0.01
ENDLESS = 10**9
REQUESTS = 20_000
ERRORS = 4.0
"""Standard errors that a mean may be off: one seed in ten thousand would be."""


def mean_wait(seen: Outcome, service_s: float) -> tuple[float, float]:
    """Mean and standard error of the wait; by batch means, since neighbours wait alike."""
    waits = seen.latency_s - service_s
    parts = np.array([part.mean() for part in np.array_split(waits, 30)])
    return float(parts.mean()), float(parts.std(ddof=1) / np.sqrt(len(parts)))


def queue(busy: float, servers: int = 1, exponential: bool = False) -> Outcome:
    pod = PodSpec(ServiceTimes({1: SERVICE_S * 1e3}, exponential=exponential), lanes=servers, max_queue=ENDLESS)
    rate = busy * servers / SERVICE_S
    return simulate(pod, ClusterSpec(1), steady(rate, REQUESTS / rate).moments(5), seed=5)


@pytest.mark.parametrize("busy", [0.3, 0.8])
def test_service_of_one_length_waits_as_pollaczek_and_khinchine_say(busy: float) -> None:
    mean, error = mean_wait(queue(busy), SERVICE_S)
    assert mean == pytest.approx(mean_wait_md1(busy / SERVICE_S, SERVICE_S), abs=ERRORS * error)
    assert error < 0.15 * mean  # or the comparison would say nothing


@pytest.mark.parametrize("busy", [0.3, 0.8])
def test_exponential_service_waits_as_mm1_says(busy: float) -> None:
    mean, error = mean_wait(queue(busy, exponential=True), SERVICE_S)
    assert mean == pytest.approx(mean_wait_mm1(busy / SERVICE_S, SERVICE_S), abs=ERRORS * error)
    assert error < 0.25 * mean


@pytest.mark.parametrize("servers", [2, 5])
def test_several_lanes_wait_as_erlangs_c_says(servers: int) -> None:
    busy = 0.8
    seen = queue(busy, servers, exponential=True)
    mean, error = mean_wait(seen, SERVICE_S)
    assert mean == pytest.approx(mean_wait_mmc(busy * servers / SERVICE_S, SERVICE_S, servers), abs=ERRORS * error)


def test_erlangs_c_is_what_tables_say() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(10, 8.0) == pytest.approx(0.4092, abs=5e-5)


def test_work_that_no_number_of_servers_can_do_is_refused() -> None:
    with pytest.raises(ValueError, match="2 servers' worth of work for 2: a queue grows without end"):
        erlang_c(2, 2.0)


def test_littles_law_holds_of_what_is_scraped() -> None:
    """in flight = rate * latency: the gauge and the latencies are counted in different places."""
    pod = PodSpec(ServiceTimes({1: 10.0}), max_queue=ENDLESS)
    idle_hpa = Scaling(HpaSpec({IN_FLIGHT: 1e6}, 4, 4), scrape_s=0.1)
    rate = 4 * 70.0
    seen = simulate(pod, ClusterSpec(4, scaling=idle_hpa), steady(rate, 80).moments(2), seed=2)
    gauge = np.array([in_flight for _, _, in_flight in seen.scraped])
    parts = np.array([part.mean() for part in np.array_split(gauge, 30)])
    error = parts.std(ddof=1) / np.sqrt(len(parts))
    assert gauge.mean() == pytest.approx(rate / 4 * seen.latency_s.mean(), abs=ERRORS * error)
    assert error < 0.1 * gauge.mean()


@pytest.mark.parametrize(("servers", "over"), [(1, 4), (1, 10), (8, 4)])
def test_how_busy_pods_may_be_within_a_limit_is_what_the_simulation_holds(servers: int, over: int) -> None:
    """Kingman's tail is for heavy traffic; at limits of four services and more it is right, or a fifth too low."""
    limit_s = over * SERVICE_S
    busy = busy_within(limit_s, SERVICE_S, SERVICE_S, servers)
    pod = PodSpec(ServiceTimes({1: SERVICE_S * 1e3}), lanes=servers, max_queue=ENDLESS)

    def share_over(share: float) -> float:
        rate = min(share, 0.995) * servers / SERVICE_S
        return simulate(pod, ClusterSpec(1), steady(rate, REQUESTS / rate).moments(3)).share_bad(limit_s * 1e3)

    assert share_over(0.95 * busy) <= 0.01 < share_over(1.2 * busy)


@given(
    limit=st.floats(1.0, 100.0), servers=st.integers(1, 60), arrivals=st.floats(1.0, 5.0), more=st.floats(0.01, 10.0)
)
@settings(max_examples=60, deadline=None)
def test_more_time_more_servers_and_steadier_arrivals_never_allow_less(
    limit: float, servers: int, arrivals: float, more: float
) -> None:
    busy = busy_within(limit, 1.0, 1.0, servers, arrivals)
    assert 0 <= busy <= 1
    assert busy_within(limit + more, 1.0, 1.0, servers, arrivals) >= busy
    assert busy_within(limit, 1.0, 1.0, servers + 1, arrivals) >= busy - 1e-9
    assert busy_within(limit, 1.0, 1.0, servers, arrivals + more) <= busy


def test_a_limit_below_one_request_alone_allows_nothing() -> None:
    assert busy_within(0.9, 1.0, 1.0) == 0.0


def test_nobody_waits_where_fewer_than_the_share_wait_at_all() -> None:
    assert wait_exceeded(0.01, busy=0.3, service_s=1.0, servers=50) == 0.0
