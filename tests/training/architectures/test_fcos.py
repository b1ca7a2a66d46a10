"""The detector's candidates: as many as there are places, each around its own, in shares of the picture."""

import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch", reason="architectures need torch")

from bundle.preprocess import ImageResize  # noqa: E402
from training.architectures.fcos import PRIOR, FcosConfig  # noqa: E402

TINY = FcosConfig.tiny()


@pytest.mark.parametrize(("height_px", "width_px"), [(64, 96), (50, 70), (17, 16)])
def test_one_candidate_a_place_of_every_level(height_px: int, width_px: int) -> None:
    network = TINY.build(ImageResize(height_px=height_px, width_px=width_px), 3).eval()
    places = sum(-(-height_px // stride) * -(-width_px // stride) for stride in (8, 16))
    got = network(torch.randn(2, 3, height_px, width_px))
    assert (got.logits.shape, got.boxes_xyxy.shape) == ((2, places, 3), (2, places, 4))
    assert got.points_xy.shape == (places, 2)


def test_boxes_lie_around_their_places() -> None:
    got = TINY.build(ImageResize(height_px=64, width_px=96), 3).eval()(torch.randn(2, 3, 64, 96))
    assert (got.boxes_xyxy[..., :2] < got.points_xy).all()
    assert (got.boxes_xyxy[..., 2:] > got.points_xy).all()


def test_places_are_spread_evenly_over_the_picture() -> None:
    points = TINY.build(ImageResize(height_px=64, width_px=96), 3).points_xy
    assert points[:96].mean(dim=0).tolist() == pytest.approx([0.5, 0.5])
    assert points[0].tolist() == pytest.approx([4 / 96, 4 / 64])
    assert points[96].tolist() == pytest.approx([8 / 96, 8 / 64])


def test_an_untrained_network_is_sure_of_nothing() -> None:
    torch.manual_seed(0)
    network = FcosConfig().build(ImageResize(height_px=64, width_px=96), 3).eval()
    with torch.inference_mode():
        got = network(torch.randn(1, 3, 64, 96))
    assert float(got.logits.sigmoid().mean()) < 5 * PRIOR


def test_the_places_are_no_part_of_the_weights() -> None:
    state = TINY.build(ImageResize(height_px=64, width_px=96), 3).state_dict()
    TINY.build(ImageResize(height_px=32, width_px=32), 3).load_state_dict(state)


@pytest.mark.parametrize("sizes", [{"channels": (8, 8)}, {"depths": (1,)}, {"depths": (0, 0, 0, 0, -1)}])
def test_sizes_that_mean_nothing_are_refused(sizes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FcosConfig.model_validate(sizes)
