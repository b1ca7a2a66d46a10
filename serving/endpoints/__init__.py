"""One endpoint a task: its path, what it accepts, what a caller may choose. The same file names as in bundle/tasks.

Knows tasks' option and result types. Knows nothing of engines.
"""

from serving.endpoints import (
    anomaly,
    classification,
    detection,
    segmentation,
    sentence_embedding,
    series_anomaly,
    text_classification,
)
from serving.endpoints.endpoint import Endpoint

ENDPOINTS: dict[str, Endpoint] = {
    "image-classification": classification.ENDPOINT,
    "image-segmentation": segmentation.ENDPOINT,
    "object-detection": detection.ENDPOINT,
    "anomaly-detection": anomaly.ENDPOINT,
    "series-anomaly-detection": series_anomaly.ENDPOINT,
    "text-classification": text_classification.ENDPOINT,
    "sentence-embedding": sentence_embedding.ENDPOINT,
}
"""Task id -> its endpoint."""

__all__ = ["ENDPOINTS", "Endpoint"]
