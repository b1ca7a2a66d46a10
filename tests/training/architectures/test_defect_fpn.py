"""Exposure is no defect, and a picture of one grey has no contrast to stretch."""

import pytest

torch = pytest.importorskip("torch", reason="architectures need the training extra")

from bundle.errors import RunError  # noqa: E402
from bundle.preprocess import ImageResize  # noqa: E402
from training.architectures.defect_fpn import DefectFpnConfig, _standardised  # noqa: E402


@pytest.mark.parametrize("level", [-2.4871, 0.0, 1 / 3, 3.1])
def test_a_picture_of_one_grey_is_exactly_zero(level: float) -> None:
    assert not _standardised(torch.full((2, 1, 192, 192), level)).any()


def test_brightness_and_contrast_do_not_change_what_is_seen() -> None:
    batch = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(_standardised(batch * 0.7 - 2), _standardised(batch), atol=1e-3)


def test_sides_that_cannot_be_halved_are_told() -> None:
    with pytest.raises(RunError, match="50 x 64 pixels cannot be halved 2 times; use multiples of 4"):
        DefectFpnConfig.tiny().build(ImageResize(height_px=50, width_px=64), 1)
