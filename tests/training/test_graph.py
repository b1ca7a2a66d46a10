"""The module that is trained and exported: layout, normalisation, tail; a stem for every kind of preprocessing."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.preprocess import ImageResize, Series, TextTokens  # noqa: E402
from tests.training.tiny import tiny_config  # noqa: E402
from training.checkpoint import new_graph  # noqa: E402
from training.graph import Graph, ImageStem, SeriesStem, TokenStem, new_stem  # noqa: E402
from training.loop import Loop  # noqa: E402
from training.tasks.classification import ClassificationTraining  # noqa: E402


def random_images(num: int, channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, 6, 5, channels), dtype=torch.uint8, generator=generator)


def test_the_stem_normalises_each_channel_by_its_own_statistics() -> None:
    images = random_images(20, 3)
    images[..., 2] = 7
    stem = ImageStem(3)
    stem.fit((images,))
    (batch,) = stem(images)
    assert batch.shape == (20, 3, 6, 5)
    assert torch.allclose(batch[:, :2].mean((0, 2, 3)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(batch[:, :2].std((0, 2, 3)), torch.ones(2), atol=1e-3)
    assert torch.isfinite(batch).all()


@pytest.mark.parametrize("stem", [ImageStem(1), SeriesStem()])
def test_statistics_travel_with_the_weights(stem: torch.nn.Module) -> None:
    assert set(stem.state_dict()) == {"mean", "std"}


def test_a_series_is_normalised_by_one_mean_and_one_deviation_of_all_values() -> None:
    train = torch.randn(50, 9, generator=torch.Generator().manual_seed(0)) * 4 + 3 + torch.arange(9)
    stem = SeriesStem()
    stem.fit((train,))
    (batch,) = stem(train)
    assert batch.shape == train.shape
    assert (float(batch.mean()), float(batch.std())) == pytest.approx((0.0, 1.0), abs=1e-5)
    assert batch[:, 8].mean() > batch[:, 0].mean() + 1, "the form of the series stays"
    other = torch.full((1, 9), 3.0)
    assert torch.allclose(stem(other)[0], (other - train.mean()) / train.std())


def test_constant_series_stay_finite() -> None:
    stem = SeriesStem()
    stem.fit((torch.full((4, 9), 2.5),))
    assert torch.equal(stem(torch.full((2, 9), 2.5))[0], torch.zeros(2, 9))


def test_tokens_reach_the_network_as_they_are_and_in_order() -> None:
    ids, mask = torch.tensor([[5, 6, 0]]), torch.tensor([[1, 1, 0]])
    stem = TokenStem()
    stem.fit((ids, mask))
    given = stem(ids, mask)
    assert given[0] is ids
    assert given[1] is mask
    assert stem.state_dict() == {}


@pytest.mark.parametrize(
    ("preprocess", "stem_type"),
    [
        (ImageResize(height_px=4, width_px=4), ImageStem),
        (Series(num_steps=9), SeriesStem),
        (TextTokens(vocab_size=9, max_tokens=4), TokenStem),
    ],
)
def test_the_kind_of_preprocessing_chooses_the_stem(preprocess: object, stem_type: type) -> None:
    assert type(new_stem(preprocess)) is stem_type  # type: ignore[arg-type]


def test_a_picture_stem_has_as_many_channels_as_its_pictures() -> None:
    assert new_stem(ImageResize(height_px=4, width_px=4, color="grey")).mean.shape == (1,)
    assert new_stem(ImageResize(height_px=4, width_px=4)).mean.shape == (3,)


def test_a_graph_takes_as_many_inputs_as_its_kind_has_and_gives_what_its_tail_gives() -> None:
    class Network(torch.nn.Module):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return ids * mask, mask.sum(1)

    graph = Graph(TokenStem(), Network(), torch.nn.Identity())
    ids, mask = torch.tensor([[5, 6, 7]]), torch.tensor([[1, 1, 0]])
    kept, lengths = graph(ids, mask)
    assert (kept.tolist(), lengths.tolist()) == ([[5, 6, 0]], [2])
    assert torch.equal(graph.logits((ids, mask))[0], kept)


class Blank(torch.nn.Module):
    """An augmentation nobody could overlook: no picture is left, and every label is the first."""

    def forward(self, batch_NCHW: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(batch_NCHW), torch.zeros_like(targets)


class Heard(Loop):
    """A loop that keeps what it logs: outside a trainer there is nobody to log to."""

    def __init__(self, augment: torch.nn.Module | None) -> None:
        torch.manual_seed(0)
        config = tiny_config()
        labels = tuple("0123456789")
        graph = new_graph(config, labels)
        super().__init__(config, ClassificationTraining(labels, config.preprocess), graph.eval(), augment)
        self.heard: dict[str, torch.Tensor] = {}

    def log(self, name: str, value: object, **_: object) -> None:  # type: ignore[override]
        self.heard[name] = value.compute() if name.endswith("accuracy") else value.detach()  # type: ignore[attr-defined]


def test_augmentation_touches_the_training_loss_only() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 17, (8, 8, 8, 1), dtype=torch.uint8, generator=generator)
    batch = ((images,), torch.arange(1, 9))
    plain, blank = Heard(None), Heard(Blank())
    for loop in (plain, blank):
        loop.training_step(batch, 0)
        loop.validation_step(batch, 0)
    assert blank.heard["train_loss"] != plain.heard["train_loss"]
    assert blank.heard["validation_loss"] == plain.heard["validation_loss"]
    assert blank.heard["validation_accuracy"] == plain.heard["validation_accuracy"]
    nothing = plain.graph.network(torch.zeros(8, 1, 8, 8))
    expected = plain.task.loss(nothing, torch.zeros(8, dtype=torch.int64), plain.config.label_smoothing)
    assert torch.allclose(blank.heard["train_loss"], expected), "pictures and targets both changed"


def test_the_served_scores_sum_to_one() -> None:
    graph = Graph(ImageStem(1), torch.nn.Conv2d(1, 2, 1), torch.nn.Softmax(dim=1)).eval()
    assert torch.allclose(graph(random_images(2, 1)).sum(1), torch.ones(2, 6, 5))
