"""What answers are worth beside the truth: one metric a task, the same in training, export and evaluation.

A metric takes one answer at a time and holds counters, so that a data set of any size can be measured. Knows answers
and truths. Knows nothing of networks, engines or where samples come from.
"""

from bundle.errors import BadInput
from bundle.metrics.metric import Metric, Table
from bundle.tables import entry

METRICS = {
    "image-classification": "bundle.metrics.classification:ClassificationMetric",
    "text-classification": "bundle.metrics.classification:ClassificationMetric",
    "image-segmentation": "bundle.metrics.segmentation:SegmentationMetric",
    "object-detection": "bundle.metrics.detection:DetectionMetric",
    "anomaly-detection": "bundle.metrics.anomaly:AnomalyMetric",
    "series-anomaly-detection": "bundle.metrics.series_anomaly:SeriesAnomalyMetric",
}
"""Task id as the manifest writes it -> "module:class", imported on use. An embedding has no truth to be held to."""


def metric_type(task_id: str) -> type[Metric]:
    """The class behind a task id.

    Raises:
        BadInput: the task has no metric.
    """
    found: type[Metric] = entry(METRICS, task_id, "task with a metric", BadInput)
    return found


__all__ = ["METRICS", "Metric", "Table", "metric_type"]
