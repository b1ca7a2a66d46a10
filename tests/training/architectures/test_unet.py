"""The U-Net: logits of the picture's own size at any size, and fewer or more levels as asked for."""

import pytest

torch = pytest.importorskip("torch", reason="architectures need the training extra")

from bundle.preprocess import ImageResize  # noqa: E402
from training.architectures.unet import UnetConfig  # noqa: E402


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (45, 61), (180, 240)])
@pytest.mark.parametrize("channels", [(4, 8), (4, 8, 8, 12, 16)])
def test_logits_are_of_the_pictures_size(size: tuple[int, int], channels: tuple[int, ...]) -> None:
    preprocess = ImageResize(height_px=size[0], width_px=size[1])
    network = UnetConfig(channels=channels).build(preprocess, 5).eval()
    assert network(torch.randn(2, 3, *size)).shape == (2, 5, *size)


def test_a_pixel_is_judged_by_what_is_far_from_it_too() -> None:
    torch.manual_seed(0)
    network = UnetConfig(channels=(4, 8, 8, 12, 16)).build(ImageResize(height_px=64, width_px=64), 2).eval()
    picture = torch.randn(1, 3, 64, 64, requires_grad=True)
    network(picture)[0, 0, 32, 32].backward()
    assert picture.grad is not None
    rows = picture.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    assert rows.max() - rows.min() > 50


def test_dropout_is_off_when_serving() -> None:
    network = UnetConfig(channels=(4, 8), dropout=0.5).build(ImageResize(height_px=16, width_px=16), 2).eval()
    batch = torch.randn(2, 3, 16, 16)
    assert torch.equal(network(batch), network(batch))
