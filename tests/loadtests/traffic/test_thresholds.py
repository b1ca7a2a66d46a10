"""Thresholds are read strictly, and a looser one never fails where a stricter one holds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.traffic.families import FAMILIES, TrafficError
from loadtests.traffic.ledger import Ledger
from loadtests.traffic.measures import family_measures
from loadtests.traffic.profiles import PROFILES
from loadtests.traffic.thresholds import (
    DEFAULT,
    FULL_SPEED,
    LEAST,
    Demands,
    ShapeDemands,
    judge,
    judge_shape,
    read_thresholds,
)

OF_A_RUN = {"goodput_share", "p99_over_deadline", "lag_p99_ms", "recovery_s", "unaccounted", "rss_growth"}
"""Measured of a whole run, not of a family."""
NAMES = st.sampled_from(sorted(Demands.model_fields))
NUMBERS = st.floats(0, 1e6)


def written(folder: Path, text: str) -> Path:
    path = folder / "thresholds.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@given(NAMES, NUMBERS, NUMBERS, NUMBERS)
def test_a_looser_limit_holds_wherever_a_stricter_one_does(name: str, a: float, b: float, value: float) -> None:
    strict, loose = sorted((a, b), reverse=name in LEAST)
    (first,), (second,) = judge("x", {name: strict}, {name: value}), judge("x", {name: loose}, {name: value})
    assert second.holds or not first.holds


@given(NAMES, NUMBERS)
def test_the_limit_itself_holds(name: str, value: float) -> None:
    (line,) = judge("x", {name: value}, {name: value})
    assert line.holds


@given(NAMES, NUMBERS)
def test_what_was_not_measured_does_not_hold(name: str, limit: float) -> None:
    for measured in ({}, {name: float("nan")}):
        (line,) = judge("x", {name: limit}, measured)
        assert not line.holds


def test_every_demand_is_measured() -> None:
    assert set(Demands.model_fields) - OF_A_RUN <= family_measures(Ledger().whole, None).keys()


def test_a_family_has_what_each_has_and_its_own() -> None:
    demands = ShapeDemands(each=Demands(wrong=0, p99_ms=100), families={"detect": Demands(p99_ms=500)})
    assert demands.of("classify") == {"wrong": 0, "p99_ms": 100}
    assert demands.of("detect") == {"wrong": 0, "p99_ms": 500}


def test_a_family_that_is_named_and_was_not_driven_does_not_hold() -> None:
    demands = ShapeDemands(families={"detect": Demands(wrong=0)})
    (line,) = judge_shape("steady", demands, {}, {})
    assert (line.what, line.holds) == ("steady, detect: wrong", False)


def test_the_files_that_come_with_it_can_be_read() -> None:
    demands = read_thresholds(DEFAULT)
    assert demands.keys() == {*PROFILES, FULL_SPEED}
    assert all(one.all.wrong == one.all.unanswered == one.all.unaccounted == 0 for one in demands.values())
    assert read_thresholds(DEFAULT.with_name("impossible.yaml"))["calm"].all.p50_ms == 0.001


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steady: {all: {p99: 3}}", "p99"),
        ("steady: {al: {p99_ms: 3}}", "al"),
        ("stedy: {}", "'stedy' is no shape that is judged; there are calm, steady"),
        ("steady: {families: {clasify: {wrong: 0}}}", "'clasify' is no family; there are classify"),
        ("steady: {all: {p99_ms: 1e3}}", "p99_ms"),  # YAML reads that as text
        ("steady: {all: {p99_ms: .nan}}", "p99_ms"),
        ("steady: {all: {wrong: -1}}", "wrong"),
        ("steady: {all: {shed_share: 50}}", "shed_share"),
        ("steady: {all: {wrong: true}}", "wrong"),
        ("steady: {all: {wrong: 0, wrong: 9}}", "'wrong' comes twice"),
        ("steady: {}\nsteady: {}", "'steady' comes twice"),
        ("[1]", "expected shapes with their thresholds, got list"),
        ("", "expected shapes with their thresholds, got NoneType"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_what_is_no_demand_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TrafficError) as refused:
        read_thresholds(written(tmp_path, text))
    assert said in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrafficError, match=r"nowhere\.yaml: cannot be read"):
        read_thresholds(tmp_path / "nowhere.yaml")


def test_the_docs_name_every_demand_and_family() -> None:
    page = (Path(__file__).parents[3] / "docs/loadtests.md").read_text(encoding="utf-8")
    assert [name for name in (*Demands.model_fields, *FAMILIES, *PROFILES, FULL_SPEED) if f"`{name}`" not in page] == []
