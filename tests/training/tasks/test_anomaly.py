"""Anomaly detection in pictures while training: one loss with and without painted defects, figures as people count."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.metrics.anomaly import GOOD  # noqa: E402
from bundle.preprocess import ImageResize, ImageSource, load_preprocess  # noqa: E402
from bundle.tasks.anomaly import AnomalyDecode, AnomalyOptions, AnomalyTask  # noqa: E402
from training.architectures.conv_autoencoder import ConvAutoencoderConfig  # noqa: E402
from training.config import Augment  # noqa: E402
from training.data.painted import PaintedSamples  # noqa: E402
from training.data.prepared import PreparedSplit  # noqa: E402
from training.data.samples import Samples  # noqa: E402
from training.data.surfaces import Joined, Surface, SurfaceArrays, encode_png  # noqa: E402
from training.deviation import threshold_of  # noqa: E402
from training.graph import Graph, ImageStem  # noqa: E402
from training.tasks.anomaly import AnomalyTraining  # noqa: E402

SPEC = ImageResize(height_px=16, width_px=24, color="grey")
TASK = AnomalyTraining((GOOD, "hole"), SPEC)
SIZE = (32, 48)


def good(count: int, seed: int = 0) -> SurfaceArrays:
    light = np.linspace(60, 180, SIZE[1])  # what all have in common
    images = (light + np.random.default_rng(seed).normal(0, 5, (count, *SIZE))).astype(np.uint8)
    return SurfaceArrays(images, [GOOD] * count, np.zeros((count, *SIZE), bool))


def holes(count: int) -> SurfaceArrays:
    surfaces = good(count, seed=9)
    masks = np.zeros((count, *SIZE), bool)
    masks[:, 8:20, 10:24] = True
    return SurfaceArrays(np.where(masks, 0, surfaces.images), ["hole"] * count, masks)


def prepared(samples: Samples) -> PreparedSplit:
    return PreparedSplit(samples, load_preprocess(SPEC, Path()), TASK.prepare_target)


def untrained() -> Graph:
    torch.manual_seed(0)
    graph = Graph(ImageStem(1), ConvAutoencoderConfig.tiny().build(SPEC, 1), TASK.tail()).eval()
    graph.stem.fit(prepared(good(8)).inputs)
    return graph


def answers(graph: Graph, samples: Samples) -> list:
    meaning = AnomalyTask(AnomalyDecode())
    with torch.inference_mode():
        scores, maps = graph(*prepared(samples).inputs)
    rows = [
        {"anomaly_score": score, "anomaly_map": one} for score, one in zip(scores.numpy(), maps.numpy(), strict=True)
    ]
    return [meaning.decode(row, ImageSource(*SIZE), AnomalyOptions()) for row in rows]


def targets(samples: Samples) -> list[Surface]:
    return [samples.target(i) for i in range(len(samples))]


def test_a_mask_is_brought_to_the_size_of_the_prepared_picture() -> None:
    mask_HW = np.zeros((32, 48), np.uint8)
    mask_HW[8:16, 12:24] = 255
    fitted = TASK.prepare_target(Surface("hole", encode_png(mask_HW)), ImageSource(32, 48))
    expected = np.zeros((16, 24), np.uint8)
    expected[4:8, 6:12] = 1
    np.testing.assert_array_equal(fitted, expected)


def test_a_single_pixel_of_defect_is_not_lost() -> None:
    mask_HW = np.zeros((320, 480), np.uint8)
    mask_HW[100, 200] = 255
    assert TASK.prepare_target(Surface("hole", encode_png(mask_HW)), ImageSource(320, 480)).sum() >= 1
    assert TASK.prepare_target(Surface(GOOD), ImageSource(320, 480)).sum() == 0


def test_without_defects_the_loss_is_the_mean_deviation() -> None:
    deviation = torch.rand(2, 8, 12)
    assert float(TASK.loss(deviation, torch.zeros(2, 16, 24, dtype=torch.int64), 0.0)) == pytest.approx(
        float(deviation.mean())
    )


def test_what_moved_in_from_outside_does_not_count() -> None:
    unknown = torch.full((1, 16, 24), -1)
    assert float(TASK.loss(torch.rand(1, 8, 12), unknown, 0.0)) == 0.0


def test_a_defect_pulls_its_deviation_up_and_the_rest_down() -> None:
    deviation = torch.full((1, 8, 12), 1.0, requires_grad=True)
    marked = torch.zeros(1, 16, 24, dtype=torch.int64)
    marked[0, :4, :4] = 1
    TASK.loss(deviation, marked, 0.0).backward()
    assert deviation.grad is not None
    assert (deviation.grad[0, :2, :2] < 0).all()
    assert (deviation.grad[0, 2:] > 0).all()


def test_the_loss_is_finite_where_a_network_is_sure_and_wrong() -> None:
    sure = torch.zeros(1, 8, 12, requires_grad=True)
    loss = TASK.loss(sure, torch.ones(1, 16, 24, dtype=torch.int64), 0.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(sure.grad).all()


def test_a_score_is_the_mean_of_the_largest_tenth() -> None:
    deviation = torch.zeros(1, 10, 10)
    deviation[0, 0] = 6.0
    tail = TASK.tail()
    assert tail.raw_score(deviation).tolist() == [6.0]
    score, anomaly_map = tail(deviation)
    assert score.tolist() == [pytest.approx(6 / 7)]
    assert anomaly_map.shape == (1, 16, 24)


def test_thresholds_are_those_of_good_validation_pictures() -> None:
    graph, held = untrained(), good(6, seed=1)
    validation = prepared(Joined([held, PaintedSamples(held, 1, 0)]))
    assert TASK.finish(graph, prepared(good(8)), validation) == AnomalyDecode()
    with torch.inference_mode():
        deviation = graph.logits(prepared(held).inputs)
    assert float(graph.tail.threshold) == pytest.approx(float(threshold_of(graph.tail.raw_score(deviation))))
    assert float((deviation > graph.tail.map_threshold).float().mean()) == pytest.approx(0.005, abs=0.002)


def test_painting_is_switched_on_by_its_share() -> None:
    assert TASK.augment(Augment()) is None
    torch.manual_seed(0)
    painter = TASK.augment(Augment(defects=1.0))
    assert painter is not None
    _, marked = painter(torch.randn(4, 1, 16, 24), torch.zeros(4, 16, 24, dtype=torch.int64))
    assert (marked == 1).any()


def test_figures_of_pictures_pixels_and_kinds() -> None:
    samples = Joined([good(10), holes(6)])
    figures = TASK.score(answers(untrained(), samples), targets(samples))
    assert next(iter(figures)) == TASK.metric_name
    assert figures["auroc"] == figures["auroc_hole"] == 1.0, "a black hole is far from any code"
    assert figures["pixel_auroc"] > 0.9
    assert figures["pixel_auroc_hole"] == pytest.approx(figures["pixel_auroc"])


def test_pixels_of_a_defect_without_a_mask_do_not_count() -> None:
    black = holes(4)
    unmasked = SurfaceArrays(black.images, black.kinds, np.zeros_like(black.masks))
    samples = Joined([good(4), unmasked])
    figures = TASK.score(answers(untrained(), samples), targets(samples))
    assert "auroc_hole" in figures
    assert not any(name.startswith("pixel") for name in figures)


def test_baselines_need_no_network() -> None:
    figures = TASK.baseline(prepared(good(20)), prepared(Joined([good(10, seed=3), holes(6)])))
    assert figures == {"distance_to_mean": 1.0, "pca": 1.0}


def test_pictures_are_drawn(tmp_path: Path) -> None:
    samples = Joined([good(5), holes(3)])
    TASK.draw(tmp_path, samples, answers(untrained(), samples))
    assert {path.name for path in tmp_path.iterdir()} == {"scores.png", "maps.png"}
