"""Who learns what: places inside a box, the best aligned of them, and never a padded row."""

import pytest

torch = pytest.importorskip("torch", reason="assignment is torch")

from training.assignment import NUM_PLACES, PADDING, assign, detection_loss  # noqa: E402

GRID = 10
POINTS = torch.stack(torch.meshgrid(*[torch.arange(GRID) / GRID + 0.05] * 2, indexing="xy"), dim=-1).reshape(-1, 2)
PAD = [float(PADDING), 0.0, 0.0, 0.0, 0.0]


def around(points: torch.Tensor, half: float) -> torch.Tensor:
    return torch.cat([points - half, points + half], dim=-1)[None]


def targets(*boxes: list[float]) -> torch.Tensor:
    return torch.tensor([list(boxes)])


def chosen(scores: torch.Tensor, boxes: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return assign(scores, boxes, POINTS, wanted).quality[0]


def flat_scores(num_labels: int = 2) -> torch.Tensor:
    return torch.full((1, len(POINTS), num_labels), 0.5)


def test_only_places_inside_a_box_learn_it_and_only_its_label() -> None:
    quality = chosen(flat_scores(), around(POINTS, 0.2), targets([1, 0.2, 0.2, 0.6, 0.6]))
    learns = quality[:, 1] > 0
    assert 0 < int(learns.sum()) <= NUM_PLACES
    assert ((POINTS[learns] > 0.2) & (POINTS[learns] < 0.6)).all()
    assert not quality[:, 0].any()


def test_the_best_place_should_score_what_it_overlaps() -> None:
    boxes = around(POINTS, 0.2)
    quality = chosen(flat_scores(), boxes, targets([0, 0.25, 0.25, 0.65, 0.65]))
    best = int(quality[:, 0].argmax())
    assert POINTS[best].tolist() == pytest.approx([0.45, 0.45])
    assert float(quality[best, 0]) == pytest.approx(1.0, abs=1e-4)


def test_padding_is_nobody() -> None:
    wanted = targets([0, 0.2, 0.2, 0.6, 0.6])
    padded = targets([0, 0.2, 0.2, 0.6, 0.6], PAD, PAD)
    one, other = (assign(flat_scores(), around(POINTS, 0.2), POINTS, t) for t in (wanted, padded))
    assert torch.equal(one.quality, other.quality)
    assert not chosen(flat_scores(), around(POINTS, 0.2), targets(PAD, PAD)).any()


def test_a_place_that_two_boxes_want_takes_the_one_it_overlaps_more() -> None:
    left, right = [0, 0.1, 0.3, 0.6, 0.7], [1, 0.4, 0.3, 0.9, 0.7]
    got = assign(flat_scores(), around(POINTS, 0.2), POINTS, targets(left, right))
    learns = got.quality[0] > 0
    assert not (learns[:, 0] & learns[:, 1]).any()
    assert torch.equal(got.boxes_xyxy[0][learns[:, 0]], torch.tensor(left[1:]).expand(int(learns[:, 0].sum()), 4))
    assert torch.equal(got.boxes_xyxy[0][learns[:, 1]], torch.tensor(right[1:]).expand(int(learns[:, 1].sum()), 4))


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, boxes = torch.rand(2, len(POINTS), 2, generator=generator), around(POINTS, 0.2).repeat(2, 1, 1)
    wanted = torch.cat([targets([0, 0.2, 0.2, 0.6, 0.6]), targets([1, 0.5, 0.1, 0.9, 0.4])])
    together = assign(scores, boxes, POINTS, wanted).quality
    alone = [assign(scores[i : i + 1], boxes[i : i + 1], POINTS, wanted[i : i + 1]).quality[0] for i in range(2)]
    assert torch.allclose(together, torch.stack(alone))


def test_an_empty_picture_has_a_loss_and_a_gradient() -> None:
    logits = torch.zeros(1, len(POINTS), 2, requires_grad=True)
    boxes = around(POINTS, 0.2).requires_grad_()
    detection_loss(logits, boxes, POINTS, targets(PAD)).backward()
    assert (logits.grad > 0).all()
    assert not boxes.grad.any()


def test_the_loss_falls_as_the_scores_get_better() -> None:
    wanted, boxes = targets([0, 0.25, 0.25, 0.65, 0.65]), around(POINTS, 0.2)
    unsure = torch.full((1, len(POINTS), 1), -3.0)
    sure = torch.where(chosen(unsure.sigmoid(), boxes, wanted) > 0.5, 3.0, -6.0)[None]
    assert detection_loss(unsure, boxes, POINTS, wanted) > detection_loss(sure, boxes, POINTS, wanted) > 0


def test_a_few_steps_find_the_box() -> None:
    wanted = targets([1, 0.2, 0.3, 0.6, 0.8])
    logits = torch.full((1, len(POINTS), 2), -2.0, requires_grad=True)
    sides = torch.full((1, len(POINTS), 4), 0.1, requires_grad=True)
    optimizer = torch.optim.Adam([logits, sides], lr=0.05)
    for _ in range(100):
        boxes = torch.cat([POINTS - sides[..., :2], POINTS + sides[..., 2:]], dim=-1)
        loss = detection_loss(logits, boxes, POINTS, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = int(logits[0].amax(dim=1).argmax())
    assert int(logits[0, best].argmax()) == 1
    assert boxes[0, best].tolist() == pytest.approx([0.2, 0.3, 0.6, 0.8], abs=0.03)


def test_tiny_first_overlaps_still_teach() -> None:
    quality = chosen(flat_scores(1), around(POINTS, 0.01), targets([0, 0.2, 0.2, 0.6, 0.6]))
    assert float(quality.max()) > 0
