"""From one pod's figures to a number of pods: by hand once, and as laws."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import BadInput, RunError
from loadtests.capacity.__main__ import main
from loadtests.capacity.figures import read_capacity, write_capacity
from loadtests.capacity.formula import Wanted, median_ms, plan
from loadtests.capacity.needs import needs, simulated
from loadtests.capacity.predicted import with_predictions
from tests.loadtests.capacity.figures import STEPS, capacity, model, step


def test_the_calculation_by_hand() -> None:
    found = plan(model(), Wanted(rps=500, p99_ms=60, zones=3, rollout_unavailable=1))
    assert found.pod_rate == 60  # the step that just holds 60 ms
    assert found.working == 9  # 500 / 60 = 8.3
    assert found.spare == 5 + 1  # a third of fourteen is five; and one that rolls over
    assert found.pods == 15
    assert found.in_flight_target == 1.0  # Little: 60/s * 16 ms
    assert found.rate_target == 54.5  # 60 / 1.1
    assert found.queue_target == 1.5  # 100/s * 60 ms / 4
    assert "ceil(500 / (60 x 1)) = 9" in "\n".join(found.steps)


def test_growth_is_room_for_what_comes_until_new_pods_answer() -> None:
    wanted = Wanted(rps=500, p99_ms=60, growth_per_minute=0.2, start_s=30, lost_pods=0)
    found = plan(model(), wanted)
    assert wanted.delay_s == 15 + 30 + 15 + 30
    assert found.utilisation == pytest.approx(1 / 1.3)  # 0.2 a minute for a minute and a half
    assert found.pods == 11  # 500 / (60 / 1.3) = 10.8


def test_between_two_steps_the_rate_lies_on_a_line_between_them() -> None:
    assert model().rate_within(110) == pytest.approx(70)
    assert model().rate_within(40) == 50
    assert model().rate_within(24) is None
    assert model().rate_within(1000) == 80  # beyond it something was shed, whatever the limit


def test_a_step_that_failed_ends_what_holds_even_if_later_ones_do() -> None:
    steps = (STEPS[0], step(50, 14, 40, failed=1), STEPS[2])
    assert model(steps=steps).rate_within(100) == 30


def test_a_limit_that_no_pod_holds_is_an_error_with_what_was_measured() -> None:
    with pytest.raises(BadInput, match=r"no pod of 'picture' holds a p99 of 20 ms: .* 30/s, it was 25 ms"):
        plan(model(), Wanted(rps=10, p99_ms=20))


def test_where_the_load_generator_ended_first_the_rate_is_calculated_and_that_is_told() -> None:
    quick = model(steps=STEPS[:3], alone_ms=1.0, saturated_per_second=1000.0, limit_ms=60.0)
    found = plan(quick, Wanted(rps=2000))
    assert found.pod_rate > 900
    assert "calculated from the most it answers: the load generator ended at 60/s" in found.steps[0]
    busy = model(steps=(*STEPS[:2], step(60, 16, 60, generator_busy=0.95), *STEPS[3:]), alone_ms=1.0)
    assert busy.generator_ended_first(60)
    behind = STEPS[2].model_copy(update={"sent_per_second": 50.0})
    assert model(steps=(*STEPS[:2], behind, *STEPS[3:])).generator_ended_first(60)
    assert not model().generator_ended_first(60)


LIMITS = st.floats(30, 400)


@given(rps=st.floats(1, 5000), more=st.floats(0, 5000), limit=LIMITS, balance=st.sampled_from(["random", "least"]))
@settings(max_examples=80, deadline=None)
def test_more_requests_never_take_fewer_pods(rps: float, more: float, limit: float, balance: Any) -> None:
    def pods(rate: float) -> int:
        return plan(model(), Wanted(rate, limit, balance)).pods

    assert pods(rps + more) >= pods(rps)


@given(rps=st.floats(1, 3000), limit=LIMITS, more=st.floats(0, 300), growth=st.floats(0, 2), zones=st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_a_longer_limit_never_takes_more_and_growth_and_losses_never_fewer(
    rps: float, limit: float, more: float, growth: float, zones: int
) -> None:
    plain = plan(model(), Wanted(rps, limit))
    assert plan(model(), Wanted(rps, limit + more)).pods <= plain.pods
    grown = plan(model(), Wanted(rps, limit, growth_per_minute=growth, zones=zones))
    assert grown.pods >= plain.pods
    lost = -(-grown.pods // zones) if zones > 1 else 1
    assert grown.pods - lost >= grown.working  # the zone with the most pods may be gone


@given(rps=st.floats(1, 3000), limit=LIMITS)
@settings(max_examples=80, deadline=None)
def test_a_proxy_that_knows_who_is_idle_never_takes_more_and_no_pod_does_more_than_it_can(
    rps: float, limit: float
) -> None:
    least = plan(model(), Wanted(rps, limit, "least"))
    assert least.pods <= plan(model(), Wanted(rps, limit)).pods
    assert least.working * model().saturated_per_second >= rps


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rps": 0}, "--rps is 0; expected more than 0"),
        ({"rps": float("nan")}, "--rps is nan"),
        ({"rps": 1, "p99_ms": -5}, "--p99-ms is -5; expected more than 0"),
        ({"rps": 1, "zones": 0}, "--zones is 0"),
        ({"rps": 1, "lost_pods": -1}, "--lost-pods is -1; expected 0 or more"),
        ({"rps": 1, "growth_per_minute": -0.1}, "--growth-per-minute is -0.1; expected 0 or more"),
    ],
)
def test_what_cannot_be_wanted_is_told_by_its_flag(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Wanted(**wrong)


def test_medians_lie_on_lines_between_steps() -> None:
    assert median_ms(model(), 0) == 11
    assert median_ms(model(), 40) == 12.5
    assert median_ms(model(), 500) == 400


def test_within_the_simulation_the_formula_is_never_more_than_a_pod_from_what_holds() -> None:
    """The page's table holds every pattern; here the first one, in seconds."""
    measured = with_predictions(model(batch_ms={1: 10.0}, steps=tuple(step(rate, 1, 1) for rate in (30, 50, 60, 80))))
    found = next(needs(measured, lambda text: None))
    assert found.pattern == "steady"
    assert abs(found.by_formula - found.least) <= 1
    assert simulated(measured).steps[0].p99_ms == measured.steps[0].simulated_p99_ms


def test_the_command_prints_every_step_and_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "capacity.json"
    write_capacity(file, capacity(model(), model("tiny", here=True)))
    assert read_capacity(file).model("tiny").here

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["capacity", "plan", "--results", str(file), *words])
        code = main()
        return code, *capsys.readouterr()

    code, out, _ = run("--model", "picture", "--rps", "500", "--p99-ms", "60")
    assert code == 0
    assert "6. pods: 9 + 1 = 10" in out
    assert "memory: 10 x 200 MiB = 2.0 GiB" in out
    assert "modelyard_in_flight     1 (Little: 60/s x 16 ms)" in out
    assert "let the HPA follow requests a second" in run("--model", "tiny", "--rps", "5")[1]
    twice = run("--model", "picture", "--rps", "500", "--p99-ms", "30", "--faster", "2")[1]
    assert "pods: 5 + 1 = 6" in twice
    assert run("--model", "nobody", "--rps", "5")[::2] == (
        1, "no figures of a model 'nobody'; measured are: picture, tiny; `make capacity` measures\n",
    )  # fmt: skip
    assert run("--model", "picture", "--rps", "0")[::2] == (1, "--rps is 0; expected more than 0\n")
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="not the figures of capacity: machine: Field required"):
        read_capacity(file)
    file.unlink()
    assert run("--model", "picture", "--rps", "5")[0] == 1
