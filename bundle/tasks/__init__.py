"""Output tensors -> typed answers: one class a meaning, the same for every engine.

Tasks + runtimes, never tasks x runtimes. Knows tensors and labels. Knows nothing of engines or HTTP.
"""

from typing import Any

from bundle.tasks.classification import ClassificationDecode, ClassificationTask
from bundle.tasks.task import Task

Decode = ClassificationDecode
"""The tagged union of all tasks' decode parameters (today one): add a member with `|`."""

TASKS: dict[str, type[Task[Any, Any]]] = {
    "image-classification": ClassificationTask,
}
"""Task id as the manifest writes it (the Hub's pipeline names) -> its meaning."""

__all__ = ["TASKS", "Decode", "Task"]
