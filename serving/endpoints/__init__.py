"""One endpoint a task: its path, what it accepts, what a caller may choose. The same file names as in bundle/tasks.

Knows tasks' option and result types. Knows nothing of engines.
"""

from serving.endpoints import classification
from serving.endpoints.endpoint import Endpoint

ENDPOINTS: dict[str, Endpoint] = {
    "image-classification": classification.ENDPOINT,
}
"""Task id -> its endpoint."""

__all__ = ["ENDPOINTS", "Endpoint"]
