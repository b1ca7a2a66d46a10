"""How golden answers are asked for over HTTP: the path, and the query that shows as much of an answer as they hold.

Knows manifests and endpoints. Knows nothing of servers.
"""

from urllib.parse import urlencode

import msgspec

from bundle.manifest import Manifest
from bundle.tasks import TASKS
from serving.endpoints import ENDPOINTS


def golden_path(manifest: Manifest) -> str:
    """Path and query with the options that the golden answers, and the evidence, were made with."""
    options = msgspec.to_builtins(TASKS[manifest.task](manifest.decode).golden_options())
    chosen = {"model": manifest.name} | {name: value for name, value in options.items() if value is not None}
    return f"{ENDPOINTS[manifest.task].path}?{urlencode(chosen)}"
