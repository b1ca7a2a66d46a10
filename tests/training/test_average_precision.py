"""The metric that the loop logs."""

import pytest

torch = pytest.importorskip("torch", reason="the metric is torch")

from training.average_precision import MeanAveragePrecision  # noqa: E402


def outputs(rows: int, *boxes: list[float]) -> tuple[torch.Tensor, ...]:
    """One picture's four outputs, as a graph gives them."""
    found_xyxy, scores = torch.zeros(1, rows, 4), torch.zeros(1, rows)
    found_xyxy[0, : len(boxes)] = torch.tensor(boxes).reshape(-1, 4)
    scores[0, : len(boxes)] = torch.linspace(0.9, 0.5, len(boxes))
    return found_xyxy, scores, torch.zeros(1, rows, dtype=torch.int64), torch.tensor([len(boxes)])


def test_the_metric_joins_batches_of_unlike_widths() -> None:
    metric = MeanAveragePrecision(1)
    metric.update(outputs(5, [0.1, 0.1, 0.3, 0.3]), torch.tensor([[[0, 0.1, 0.1, 0.3, 0.3], [-1, 0, 0, 0, 0]]]))
    metric.update(outputs(5), torch.tensor([[[0, 0.5, 0.5, 0.9, 0.9]]]))
    assert float(metric.compute()) == pytest.approx(
        0.505, abs=0.01
    )  # half is found: recall 0 to 0.5 of COCO's 101 points
    metric.reset()
    metric.update(outputs(5, [0.5, 0.5, 0.9, 0.9]), torch.tensor([[[0, 0.5, 0.5, 0.9, 0.9]]]))
    assert float(metric.compute()) == pytest.approx(1)
