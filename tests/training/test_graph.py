"""The module that is trained and exported: layout, normalisation, tail."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training.graph import Graph, ImageStem  # noqa: E402


def test_the_stem_normalises_each_channel_by_its_own_statistics() -> None:
    images = torch.randint(0, 256, (20, 6, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[..., 2] = 7
    stem = ImageStem(3)
    stem.fit(images)
    batch = stem(images)
    assert batch.shape == (20, 3, 6, 5)
    assert torch.allclose(batch[:, :2].mean((0, 2, 3)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(batch[:, :2].std((0, 2, 3)), torch.ones(2), atol=1e-3)
    assert torch.isfinite(batch).all()


def test_statistics_travel_with_the_weights() -> None:
    assert set(ImageStem(1).state_dict()) == {"mean", "std"}


def test_augmentation_touches_the_loss_only() -> None:
    graph = Graph(ImageStem(1), torch.nn.Conv2d(1, 2, 1), torch.nn.Softmax(dim=1)).eval()
    images = torch.randint(0, 256, (2, 4, 4, 1), dtype=torch.uint8)
    zero = torch.nn.Hardtanh(0.0, 1e-9)
    assert not torch.allclose(graph.logits(images, zero), graph.logits(images))
    assert torch.allclose(graph(images).sum(1), torch.ones(2, 4, 4))
