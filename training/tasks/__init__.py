"""What each task means while training: loss, metric, baseline, pictures. The same file names as in bundle/tasks.

Knows torch. Knows nothing of data files, of the loop or of engines.
"""

from bundle.errors import RunError
from bundle.tables import entry
from training.tasks.task import TrainingTask

TASKS = {
    "image-classification": "training.tasks.classification:ClassificationTraining",
    "image-segmentation": "training.tasks.segmentation:SegmentationTraining",
    "object-detection": "training.tasks.detection:DetectionTraining",
    "anomaly-detection": "training.tasks.anomaly:AnomalyTraining",
    "series-anomaly-detection": "training.tasks.series_anomaly:SeriesAnomalyTraining",
    "text-classification": "training.tasks.text_classification:TextClassificationTraining",
}
"""Task id as the manifest writes it -> "module:class", imported on use."""


def training_task(task_id: str) -> type[TrainingTask]:
    """The class behind a task id.

    Raises:
        RunError: no such task.
    """
    task_type: type[TrainingTask] = entry(TASKS, task_id, "trainable task", RunError)
    return task_type


__all__ = ["TASKS", "TrainingTask", "training_task"]
