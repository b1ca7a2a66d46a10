"""Limits: every precision the manifest knows that export makes has them, and none is looser than it says."""

import pytest

pytest.importorskip("torch", reason="export needs torch")

from export.tolerance import TOLERANCES


def test_fp32_allows_no_answer_to_change() -> None:
    assert TOLERANCES["fp32"].disagreement_share == 0.0
    assert TOLERANCES["fp32"].atol <= 1e-5


def test_int8_may_lose_half_a_point_at_most() -> None:
    assert TOLERANCES["int8"].max_metric_drop == 0.005
    assert TOLERANCES["int8"].disagreement_share <= 0.01
