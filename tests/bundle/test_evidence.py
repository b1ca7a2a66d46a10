"""Evidence is believed by its figures, never by a word."""

import pytest
from pydantic import ValidationError

from bundle.evidence import REQUIRED_CHECKS, Check, Evidence, Latency
from tests.builders import passed_evidence

GOOD = passed_evidence("0" * 64)


def with_checks(*checks: Check) -> Evidence:
    return GOOD.model_copy(update={"checks": checks})


def test_every_required_check_within_its_limit_is_a_proof() -> None:
    assert GOOD.shortfall() is None


def test_a_figure_at_its_limit_holds_it() -> None:
    assert Check(kind="values", subject="scores", value=0.25, limit=0.25).passed


def test_a_figure_above_its_limit_breaks_it() -> None:
    assert not Check(kind="values", subject="scores", value=0.26, limit=0.25).passed


@pytest.mark.parametrize("missing", REQUIRED_CHECKS)
def test_a_missing_check_is_named(missing: str) -> None:
    left = with_checks(*(check for check in GOOD.checks if check.kind != missing))
    assert left.shortfall() == f"its evidence lacks the checks {missing}"


def test_no_checks_at_all_are_no_proof() -> None:
    assert with_checks().shortfall() == f"its evidence lacks the checks {', '.join(REQUIRED_CHECKS)}"


def test_a_broken_limit_is_told_with_figure_and_limit() -> None:
    broken = Check(kind="metric", subject="accuracy on test", value=0.02, limit=0.005)
    shortfall = str(with_checks(*GOOD.checks, broken).shortfall())
    assert shortfall.startswith("its evidence holds broken limits: metric")
    assert "accuracy on test: 0.02 (limit 0.005) BROKEN" in shortfall


def test_one_passed_check_does_not_excuse_a_broken_one_of_its_kind() -> None:
    broken = Check(kind="values", subject="scores, batch 4", value=1.0, limit=0.1)
    assert "scores, batch 4" in str(with_checks(*GOOD.checks, broken).shortfall())


def test_only_the_broken_checks_are_told() -> None:
    broken = Check(kind="values", subject="scores", value=1.0, limit=0.1)
    assert "everything" not in str(with_checks(*GOOD.checks, broken).shortfall())


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf"), "nan", "Infinity"])
@pytest.mark.parametrize("field", ["value", "limit"])
def test_a_figure_that_is_no_number_is_refused(field: str, figure: float | str) -> None:
    with pytest.raises(ValidationError, match=field):
        Check.model_validate({"kind": "values", "subject": "scores", "value": 0.0, "limit": 0.0, field: figure})


def test_nobody_can_write_passed_beside_a_broken_limit() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Check.model_validate({"kind": "values", "subject": "scores", "value": 1.0, "limit": 0.0, "passed": True})


def test_a_check_that_nobody_defined_is_refused() -> None:
    with pytest.raises(ValidationError, match="kind"):
        Check.model_validate({"kind": "vibes", "subject": "scores", "value": 0.0, "limit": 0.0})


def test_evidence_of_no_samples_is_refused() -> None:
    with pytest.raises(ValidationError, match="num_test_samples"):
        Evidence.model_validate({**GOOD.model_dump(), "num_test_samples": 0})


def test_evidence_is_bound_to_a_sha256() -> None:
    with pytest.raises(ValidationError, match="sha256"):
        passed_evidence("the file over there")


def test_the_speed_up_is_the_geometric_mean_over_common_batch_sizes() -> None:
    def latency(**ms: float) -> Latency:
        return Latency(threads=1, median_ms={int(size[1:]): value for size, value in ms.items()})

    assert latency(b1=0.5, b8=2.0).speed_up(latency(b1=1.0, b8=1.0)) == pytest.approx(1.0)
    assert latency(b1=1.0, b32=9.0).speed_up(latency(b1=4.0, b8=1.0)) == pytest.approx(4.0)
    with pytest.raises(ValueError, match="no batch size in common"):
        latency(b1=1.0).speed_up(latency(b8=1.0))
