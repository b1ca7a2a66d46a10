"""What is made from rules.yaml and panels.py: the PrometheusRule, the dashboard's JSON, the list of runbooks.

docs/generate.py writes them (`make docs`) and a test says which are stale. Knows their forms. Knows no figure.
"""

import textwrap
from pathlib import Path

import yaml

from k8s.monitoring import dashboard
from k8s.monitoring.expressions import RULES

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"
HEAD = """# Made from rules.yaml by `make docs`; do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: modelyard
  labels:
    app.kubernetes.io/name: modelyard
    app.kubernetes.io/component: monitoring
spec:
"""
INDEX = """# Runbooks

Made from `k8s/monitoring/rules.yaml` by `make docs`; do not edit. A page for every alert: what it means, how bad it is,
where to look first, what it is mostly, how to mend it, when it is over. `critical` is for now, `warning` for today.

Commands ask a service through `kubectl -n modelyard port-forward deploy/modelyard 8000 8002 &` (or `POD` in place of
`deploy/modelyard` for a certain one); where keys are on, `GET /v1/models` wants `-H "Authorization: Bearer $KEY"`, and
what changes something an admin's. NAME, VERSION, POD and NODE are yours to fill in, and so is another namespace than
`modelyard`. PromQL goes into Prometheus' page, or Grafana's *Explore*.

| alert | severity | after | what |
|---|---|---|---|
"""


def prometheusrule() -> str:
    """prometheusrule.yaml: the very text of rules.yaml, comments included, inside of the operator's kind."""
    text = RULES.read_text(encoding="utf-8")
    return HEAD + textwrap.indent(text[text.index("groups:") :], "  ")


def index() -> str:
    """docs/runbooks/README.md."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return INDEX + "".join(
        f"| [{one['alert']}]({one['alert']}.md) | {one['labels']['severity']} | {one.get('for', 'at once')} | "
        f"{_plain(one['annotations']['summary'])} |\n"
        for one in alerts
    )


def _plain(summary: str) -> str:
    """A summary whose holes are named."""
    for hole, name in {
        "{{ $value | humanizePercentage }}": "so many percent",
        "{{ $value | humanize }}": "so many",
        "{{ $value }}": "so many",
    }.items():
        summary = summary.replace(hole, name)
    return summary.replace("{{ $labels.", "<").replace(" }}", ">")


PAGES = {
    "k8s/monitoring/prometheusrule.yaml": prometheusrule,
    "k8s/monitoring/dashboard.json": dashboard.text,
    "docs/runbooks/README.md": index,
}
"""Path -> what makes it."""
