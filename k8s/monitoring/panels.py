"""What the dashboard shows: rows of panels, each with its queries, unit, legend and the reason why one looks at it.

Knows the rows. Knows nothing of Grafana's JSON: dashboard.py does.
"""

from typing import NamedTuple

from k8s.monitoring.answer_rows import QUALITY, VERSIONS
from k8s.monitoring.machine_rows import BATCH, GPU, PROCESS
from k8s.monitoring.panel import NS, OF, Panel, Query
from k8s.monitoring.traffic_rows import MODELS, OVERVIEW

ROWS: dict[str, tuple[Panel, ...]] = {
    "Overview": OVERVIEW,
    "Models": MODELS,
    "Quality of answers": QUALITY,
    "Versions and engines": VERSIONS,
    "GPU": GPU,
    "Process": PROCESS,
    "Batch scoring": BATCH,
}


class Event(NamedTuple):
    """A mark across all panels."""

    name: str
    query: Query
    colour: str


_READY = f"max by (model, version) (modelyard_model_ready{{{OF}}}"
_RELEASES = f"max by (release) (modelyard_build_info{{{NS}}}"
EVENTS = (
    Event(
        "Version ready",
        Query(f"({_READY}) == 1) unless ({_READY} offset 1m) == 1)", "{{model}} version {{version}}"),
        "green",
    ),
    Event("Release", Query(f"{_RELEASES}) unless {_RELEASES} offset 1m)", "Modelyard {{release}}"), "blue"),
    Event("Alert", Query('ALERTS{alertname=~"Modelyard.*", alertstate="firing"}', "{{alertname}} {{model}}"), "red"),
)
"""What is there now and was not a minute ago."""

VARIABLES = {
    "namespace": "label_values(modelyard_build_info, namespace)",
    "model": f"label_values(modelyard_model_ready{{{NS}}}, model)",
}
