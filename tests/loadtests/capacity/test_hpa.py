"""An HPA wants what Kubernetes would want: cases worked by hand from its sources and its documentation, and laws."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import RunError
from loadtests.capacity.cluster import IN_FLIGHT, QUEUE_DEPTH, RATE
from loadtests.capacity.hpa import DOWN, Autoscaler, HpaSpec, Policy, Rules, Seen, proposal
from loadtests.capacity.hpa_file import HPA_FILE, read_hpa

ROOT = Path(__file__).parents[3]
ANY_NUMBER = Rules(0, (Policy("Percent", 900, 15),))


def pods(*values: float, metric: str = "m") -> list[dict[str, float]]:
    return [{metric: value} for value in values]


def test_twice_the_target_takes_twice_the_pods_and_half_takes_half() -> None:
    assert proposal([20, 20], target=10, current=2, pending=0, unseen=0) == 4
    assert proposal([5, 5, 5, 5], target=10, current=4, pending=0, unseen=0) == 2


def test_within_a_tenth_of_the_target_nothing_changes() -> None:
    assert proposal([10.9, 10.9], target=10, current=2, pending=0, unseen=0) == 2
    assert proposal([9.1, 9.1], target=10, current=2, pending=0, unseen=0) == 2
    assert proposal([11.2, 11.2], target=10, current=2, pending=0, unseen=0) == 3


def test_pods_that_start_count_as_idle_so_that_a_scale_up_is_not_repeated() -> None:
    assert proposal([20, 20], target=10, current=4, pending=2, unseen=0) == 4
    assert proposal([20, 20], target=10, current=4, pending=0, unseen=2) == 4
    assert proposal([50, 50], target=10, current=4, pending=2, unseen=0) == 10


def test_pods_without_a_figure_count_as_busy_enough_when_fewer_are_wanted() -> None:
    assert proposal([2, 2], target=10, current=4, pending=0, unseen=2) == 3
    assert proposal([2, 2], target=10, current=4, pending=2, unseen=0) == 1  # pending ones are left out altogether


def test_a_caution_that_would_turn_the_direction_changes_nothing() -> None:
    assert proposal([14], target=10, current=5, pending=4, unseen=0) == 5


def test_the_greatest_of_several_metrics_counts() -> None:
    seen = Seen([{"a": 30.0, "b": 1.0}, {"a": 30.0, "b": 1.0}])
    scaler = Autoscaler(HpaSpec({"a": 10, "b": 10}, 1, 50, up=ANY_NUMBER))
    assert scaler.sync(0, 2, seen) == 6


def test_a_metric_that_is_missing_may_not_take_pods_away() -> None:
    scaler = Autoscaler(HpaSpec({"a": 10, "b": 10}, 1, 50, up=ANY_NUMBER, down=Rules(0, DOWN.policies)))
    assert scaler.sync(0, 4, Seen(pods(1, 1, 1, 1, metric="a"))) == 4
    assert scaler.sync(15, 4, Seen(pods(20, 20, 20, 20, metric="a"))) == 8
    assert scaler.sync(30, 8, Seen([])) == 8


def test_by_default_it_doubles_or_adds_four_within_fifteen_seconds() -> None:
    one, ten = Autoscaler(HpaSpec({"m": 1}, 1, 100)), Autoscaler(HpaSpec({"m": 1}, 1, 100))
    assert one.sync(0, 1, Seen(pods(90))) == 5
    assert one.sync(5, 5, Seen(pods(*[90] * 5))) == 5  # of the period there is nothing left
    assert one.sync(15, 5, Seen(pods(*[90] * 5))) == 10
    assert ten.sync(0, 10, Seen(pods(*[90] * 10))) == 20


def test_of_several_policies_the_stricter_one_counts_where_that_is_said() -> None:
    policies = (Policy("Percent", 100, 15), Policy("Pods", 4, 15))
    scaler = Autoscaler(HpaSpec({"m": 1}, 1, 100, up=Rules(0, policies, "Min")))
    assert scaler.sync(0, 10, Seen(pods(*[90] * 10))) == 14
    assert Autoscaler(HpaSpec({"m": 1}, 1, 100, up=Rules(0, policies, "Disabled"))).sync(0, 3, Seen(pods(9))) == 3


def test_fewer_pods_only_when_five_minutes_asked_for_fewer() -> None:
    scaler = Autoscaler(HpaSpec({"m": 10}, 1, 50))
    assert scaler.sync(0, 8, Seen(pods(*[10] * 8))) == 8
    assert scaler.sync(15, 8, Seen(pods(*[1] * 8))) == 8
    assert scaler.sync(299, 8, Seen(pods(*[1] * 8))) == 8
    assert scaler.sync(301, 8, Seen(pods(*[1] * 8))) == 1


def test_a_pod_a_minute_is_a_pod_a_minute() -> None:
    slow = Rules(0, (Policy("Pods", 1, 60),))
    scaler = Autoscaler(HpaSpec({"m": 10}, 2, 50, down=slow))
    wanted = 5
    seen = []
    for moment in range(0, 300, 15):
        wanted = scaler.sync(moment, wanted, Seen(pods(*[1] * wanted)))
        seen.append(wanted)
    assert seen == [4] * 4 + [3] * 4 + [2] * 12


def test_bounds_are_taken_at_once() -> None:
    assert Autoscaler(HpaSpec({"m": 1}, 3, 50)).sync(0, 1, Seen(pods(1))) == 3
    assert Autoscaler(HpaSpec({"m": 1}, 1, 4)).sync(0, 9, Seen(pods(*[9] * 9))) == 4


@given(
    st.lists(st.lists(st.floats(0, 100), min_size=1, max_size=12), min_size=1, max_size=20),
    st.integers(1, 5),
    st.integers(5, 20),
)
@settings(max_examples=60, deadline=None)
def test_it_stays_within_its_bounds_and_its_speed(rounds: list[list[float]], least: int, most: int) -> None:
    scaler = Autoscaler(HpaSpec({"m": 10}, least, most))
    wanted = least
    for number, values in enumerate(rounds):
        before, wanted = wanted, scaler.sync(15.0 * number, wanted, Seen(pods(*values)))
        assert least <= wanted <= most
        assert wanted <= max(2 * before, before + 4)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0.5, 50), st.floats(0, 50))
@settings(max_examples=60, deadline=None)
def test_more_work_never_wants_fewer_pods(values: list[float], target: float, more: float) -> None:
    current = len(values)
    busier = [value + more for value in values]
    assert proposal(busier, target, current, 0, 0) >= proposal(values, target, current, 0, 0)


def test_a_spec_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 <= minimum <= maximum"):
        HpaSpec({"m": 1}, 5, 4)
    with pytest.raises(ValueError, match="expected at least one, each above 0"):
        HpaSpec({})


MANIFEST = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
spec:
  minReplicas: 2
  maxReplicas: 10
  metrics:
    - {type: Pods, pods: {metric: {name: modelyard_in_flight}, target: {type: AverageValue, averageValue: 500m}}}
  behavior:
    scaleUp:
      policies: [{type: Pods, value: 4, periodSeconds: 30}]
"""


def test_a_manifest_is_read_with_kubernetes_own_numbers_where_it_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "hpa.yaml"
    file.write_text(MANIFEST, encoding="utf-8")
    spec = read_hpa(file)
    assert (spec.targets, spec.min_replicas, spec.max_replicas) == ({"modelyard_in_flight": 0.5}, 2, 10)
    assert spec.up == Rules(0, (Policy("Pods", 4, 30),))
    assert spec.down == DOWN


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Deployment", "expected one HorizontalPodAutoscaler of autoscaling/v2, found 0"),
        (MANIFEST.replace("/v2", "/v1"), "expected one HorizontalPodAutoscaler of autoscaling/v2, found 1"),
        (MANIFEST.replace("type: Pods, pods", "type: Object, pods"), "a metric of type Object is not simulated"),
        (MANIFEST.replace("  maxReplicas: 10\n", ""), "'maxReplicas'"),
        ("a: [", "not YAML"),
    ],
)
def test_another_manifest_is_refused_with_the_reason(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "hpa.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=told):
        read_hpa(file)
    with pytest.raises(RunError, match="No such file"):
        read_hpa(tmp_path / "none.yaml")


def test_the_manifest_of_this_repository_can_be_simulated() -> None:
    assert read_hpa(ROOT / HPA_FILE).targets.keys() <= {IN_FLIGHT, QUEUE_DEPTH, RATE}
