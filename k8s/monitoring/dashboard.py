"""panels.py as Grafana's JSON, by Grafana's own typed builders: a field that Grafana does not have is an error here.

`make docs` writes dashboard.json. Knows Grafana's model of a dashboard. Knows nothing of what is shown.
"""

import json
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from k8s.monitoring.panel import Panel, Query
from k8s.monitoring.panels import EVENTS, ROWS, VARIABLES, Event

UID = "modelyard"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = {"timeseries": 8, "stat": 4, "timeline": 8}


def text() -> str:
    """dashboard.json."""
    built = JSONEncoder(sort_keys=True, indent=1).encode(_dashboard().build())
    document = json.loads(built)
    _number(document)
    document["annotations"]["list"] = [
        one | ({"titleFormat": one["name"], "textFormat": event.query.legend, "step": "15s"})
        for one, event in zip(document["annotations"]["list"], EVENTS, strict=True)
    ]
    return json.dumps(document, sort_keys=True, indent=1) + "\n"


def _number(document: dict[str, Any]) -> None:
    """Give panels the ids that links to them need, and the same ones at every making."""
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number


def _dashboard() -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard("Modelyard")
        .uid(UID)
        .description(
            "Models that answer: traffic, time, quality of answers, versions, GPUs. Made from k8s/monitoring/panels.py."
        )
        .tags(["modelyard"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, query in VARIABLES.items():
        made = made.with_variable(_variable(name, query))
    for event in EVENTS:
        made = made.annotation(_annotation(event))
    for title, panels in ROWS.items():
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(_panel(panel))
    return made


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    every = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")  # of a Prometheus without namespaces too
        .current(every)
    )


def _annotation(event: Event) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(event.name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(event.colour)
        .expr(event.query.expr)
    )


def _panel(panel: Panel) -> Any:
    make = {"timeseries": _timeseries, "stat": _stat, "timeline": _timeline}[panel.kind]
    made = (
        make(panel)
        .title(panel.title)
        .description(panel.why)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(HEIGHT[panel.kind])
    )
    if panel.steps:
        made = made.thresholds(_thresholds(panel))
    for letter, query in zip("ABCDEF", panel.queries, strict=False):
        made = made.with_target(_target(query, letter, instant=panel.kind == "stat"))
    return made


def _target(query: Query, letter: str, instant: bool) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
    return made.instant() if instant else made.range()


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    below = "red" if panel.steps[0][1] == "green" else "green"
    steps = [
        model.Threshold(value=None, color=below),
        *(model.Threshold(value=at, color=colour) for at, colour in panel.steps),
    ]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _timeseries(panel: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
    )
    made = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
        .line_width(1)
        .fill_opacity(40 if panel.stacked else 10)
        .min(0)
    )
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    if panel.top is not None:
        made = made.max(panel.top)
    if panel.steps:
        line = common_model.GraphThresholdsStyleConfig(mode=common_model.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds_style(_Built(line))
    return made


class _Built:
    """What is built already, where a builder is asked for."""

    def __init__(self, what: Any) -> None:
        self._what = what

    def build(self) -> Any:
        """It."""
        return self._what


def _stat(panel: Panel) -> stat.Panel:
    many = len(panel.queries) == 1 and "{{" in panel.queries[0].legend
    mode = common_model.BigValueTextMode.VALUE_AND_NAME if many else common_model.BigValueTextMode.VALUE
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE)
        .text_mode(mode)
        .no_value("no data")
    )


def _timeline(panel: Panel) -> statetimeline.Panel:
    return statetimeline.Panel().show_value(common_model.VisibilityMode.NEVER).row_height(0.8).fill_opacity(70)
