"""Output tensors -> typed answers: one class a meaning, the same for every engine.

Tasks + runtimes, never tasks x runtimes. Knows tensors and labels. Knows nothing of engines or HTTP.
"""

from typing import Annotated, Any

from pydantic import Field

from bundle.tasks.anomaly import AnomalyDecode, AnomalyTask
from bundle.tasks.classification import ClassificationDecode, ClassificationTask
from bundle.tasks.detection import DetectionDecode, DetectionTask
from bundle.tasks.segmentation import SegmentationDecode, SegmentationTask
from bundle.tasks.sentence_embedding import SentenceEmbeddingDecode, SentenceEmbeddingTask
from bundle.tasks.series_anomaly import SeriesAnomalyDecode, SeriesAnomalyTask
from bundle.tasks.task import Task
from bundle.tasks.text_classification import TextClassificationTask

Decode = Annotated[
    ClassificationDecode
    | SegmentationDecode
    | DetectionDecode
    | AnomalyDecode
    | SeriesAnomalyDecode
    | SentenceEmbeddingDecode,
    Field(discriminator="kind"),
]
"""The tagged union of all tasks' decode parameters: add a member with `|`."""

TASKS: dict[str, type[Task[Any, Any]]] = {
    "image-classification": ClassificationTask,
    "image-segmentation": SegmentationTask,
    "object-detection": DetectionTask,
    "anomaly-detection": AnomalyTask,
    "series-anomaly-detection": SeriesAnomalyTask,
    "text-classification": TextClassificationTask,
    "sentence-embedding": SentenceEmbeddingTask,
}
"""Task id as the manifest writes it (the Hub's pipeline names) -> its meaning."""

__all__ = ["TASKS", "Decode", "Task"]
