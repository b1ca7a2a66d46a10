"""`make monitoring-check`: rules, dashboard and alerts against a real Prometheus that scrapes real services under load.

promtool checks the rules and runs their tests. Then Prometheus runs with docker/compose's own configuration (hosts
replaced, scraping every other second) while rehearsal.py provokes what there is to see, and every query of the
dashboard, every recording rule and every alert is asked. What gives no data must be in may-be-empty.yaml, with its
reason; what is there and gives data is an error too. Writes build/monitoring/report.{json,md}.
Knows the parts. Knows nothing of figures.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from k8s.monitoring import expressions
from k8s.monitoring.expressions import Expression
from k8s.monitoring.prometheus import Prometheus, prometheus
from k8s.monitoring.rehearsal import Rehearsal
from loadtests.server import ROOT, free_port

HERE = Path(__file__).parent
REPORT = ROOT / "build/monitoring"
CONFIG = ROOT / "docker/compose/prometheus.yml"
EMPTY = HERE / "may-be-empty.yaml"
SCRAPE = "2s"
RATE_INTERVAL = "20s"
"""Grafana's $__rate_interval is four scrapes at the least; a busy machine may miss some."""
STEP_S = 2.0
KNOWN = "last_over_time(modelyard_build_info[10m])"
FAILED = f'sum(count_over_time((up{{job="modelyard"}} == 0 and on (instance) {KNOWN})[10m:2s]))'
"""Of targets that answer at other times."""
PROMTOOL = (
    ("check", "rules", "rules.yaml"),
    ("test", "rules", "rules.test.yaml", "rules-slow.test.yaml"),
    ("check", "config", "--syntax-only", str(CONFIG)),
)
BATCH_JOB = "modelyard-batch"


class Row(NamedTuple):
    """One line of the report."""

    kind: str
    where: str
    query: str
    num_series: int
    sample: float | None
    labels: dict[str, str]
    note: str = ""


def promtool() -> list[str]:
    """What is wrong with the rules and their tests."""
    wrong = []
    for command in PROMTOOL:
        done = subprocess.run(["promtool", *command], cwd=HERE, capture_output=True, text=True, check=False)
        print(f"promtool {' '.join(command[:2])}: {'fine' if done.returncode == 0 else 'wrong'}")
        if done.returncode:
            wrong.append(f"promtool {' '.join(command)}:\n{done.stdout}{done.stderr}")
    return wrong


def config(ports: dict[str, int]) -> dict[str, Any]:
    """Compose's configuration with these targets in place of its own, and one that nobody answers."""
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    found["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
    found["rule_files"] = [str(expressions.RULES)]
    (job,) = found["scrape_configs"]
    targets = [f"127.0.0.1:{port}" for port in (ports["alone"], ports["fleet"], free_port())]
    job["static_configs"] = [{"targets": targets}]
    batch = {"job_name": BATCH_JOB, "static_configs": [{"targets": [f"127.0.0.1:{ports['job']}"]}]}
    return found | {"scrape_configs": [job, batch]}


def ask_all(running: Prometheus, start: float, end: float) -> tuple[list[Row], list[str]]:
    """Every query's row, and what is wrong with any."""
    rows, wrong = [], []
    listed: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(EMPTY.read_text(encoding="utf-8"))
    unused = {(kind, where) for kinds in listed.values() for kind, reasons in kinds.items() for where in reasons}
    for one in [*expressions.of_dashboard(), *expressions.of_rules()]:
        query = one.where if one.kind == "record" else expressions.filled(one.text, RATE_INTERVAL)
        try:
            answer = running.ask(query, start, end, STEP_S)
        except ValueError as cause:
            wrong.append(f"{one.kind} {one.where}: {cause}: {query}")
            continue
        reason = listed["empty"].get(one.kind, {}).get(one.where, "")
        by_chance = listed["by_chance"].get(one.kind, {}).get(one.where, "")
        unused.discard((one.kind, one.where))
        rows.append(Row(one.kind, one.where, query, *answer, note=reason or by_chance))
        wrong += _judged(one, answer.num_series or len(by_chance), reason)
        wrong += [] if one.kind != "alert" else _unseen(one, listed["empty"]["selector"], unused, running, start, end)
    return rows, wrong + [f"{EMPTY.name}: there is no {kind} '{where}'" for kind, where in sorted(unused)]


def _judged(one: Expression, num_series: int, reason: str) -> list[str]:
    if num_series and reason:
        return [f"{EMPTY.name}: {one.kind} '{one.where}' has data, so it need not be listed"]
    if num_series or reason:
        return []
    return [f"{one.kind} '{one.where}' has no data: {one.text}"]


def _unseen(
    one: Expression,
    allowed: dict[str, str],
    unused: set[tuple[str, str]],
    running: Prometheus,
    start: float,
    end: float,
) -> list[str]:
    """What an alert asks for that was never there: it could not fire, however bad things were."""
    missing = [text for text in expressions.selectors(one.text) if not running.ask(text, start, end, STEP_S).num_series]
    unused -= {("selector", text) for text in missing}
    return [f"alert {one.where}: nothing is there of {text}" for text in missing if text not in allowed]


def rules_health(running: Prometheus) -> list[str]:
    """What Prometheus says of its rules, and of the words of alerts."""
    wrong = []
    for rule in running.rules():
        if rule["health"] != "ok":
            wrong.append(f"rule {rule['name']}: {rule['health']}: {rule.get('lastError', '')}")
        for alert in rule.get("alerts", ()):
            texts = alert["annotations"].values()
            wrong += [f"alert {rule['name']}: {text}" for text in texts if "<error" in text or "<no value>" in text]
    return wrong


def scrapes(running: Prometheus, end: float) -> tuple[dict[str, float], list[str]]:
    """How long scrapes took and how much they brought; what Prometheus complained of."""
    told = {}
    for name, query in {
        "slowest scrape (s)": 'max(max_over_time(scrape_duration_seconds{job="modelyard"}[10m]))',
        "mean scrape (s)": "avg(avg_over_time(scrape_duration_seconds[10m]) and on (instance) modelyard_build_info)",
        "most samples in a scrape": 'max(max_over_time(scrape_samples_scraped{job="modelyard"}[10m]))',
        "series of its own": "prometheus_tsdb_head_series",
    }.items():
        sample = running.ask(query, end, end, STEP_S).sample
        if sample is not None:
            told[name] = sample
    complaints = [f"Prometheus: {line}" for line in running.complaints()]
    told["scrapes that failed"] = running.ask(FAILED, end, end, STEP_S).sample or 0.0
    bad = [target["lastError"] for target in running.targets() if target["health"] != "up"]
    return told, complaints + [f"a scrape: {one}" for one in bad if not re.search("refused|deadline exceeded", one)]


def report(rows: list[Row], facts: dict[str, Any], wrong: list[str]) -> None:
    """report.json for programs, report.md for people."""
    REPORT.mkdir(parents=True, exist_ok=True)
    document = {"facts": facts, "wrong": wrong, "queries": [row._asdict() for row in rows]}
    (REPORT / "report.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    lines = ["# monitoring-check", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += ["## Wrong", "", *(f"- {one}" for one in wrong)] if wrong else ["Nothing is wrong."]
    lines += ["", "| kind | where | series | sample | of |", "|---|---|---|---|---|"]
    for row in rows:
        sample = "" if row.sample is None else f"{row.sample:.4g}"
        of = ", ".join(f"{name}={value}" for name, value in row.labels.items() if name != "__name__") or row.note
        lines.append(f"| {row.kind} | {row.where} | {row.num_series} | {sample} | {of} |".replace("\n", " "))
    (REPORT / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def rehearse() -> tuple[list[Row], dict[str, Any], list[str]]:
    """Everything that needs processes."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        rehearsal = Rehearsal(folder)
        port = free_port()
        with prometheus(folder, config(rehearsal.metrics_ports), port) as running, rehearsal.running():
            start = time.time() + 2 * STEP_S  # both have been scraped by then
            rehearsal.play()
            end = time.time()
            rows, wrong = ask_all(running, start, end)
            wrong += rules_health(running)
            told, complaints = scrapes(running, end)
    return rows, {**rehearsal.told, **told, "seconds scraped": round(end - start)}, wrong + complaints


def main() -> int:
    """0 where nothing is wrong."""
    began = time.monotonic()
    if missing := [program for program in ("promtool", "prometheus") if not shutil.which(program)]:
        print(f"{' and '.join(missing)} not installed: apt-get install prometheus (Debian)", file=sys.stderr)
        return 1
    wrong = promtool()
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    if not wrong:
        rows, facts, wrong = rehearse()
    facts["seconds"] = round(time.monotonic() - began)
    report(rows, facts, wrong)
    counted = {kind: sum(row.kind == kind for row in rows) for kind in ("panel", "annotation", "record", "alert")}
    for name, value in facts.items():
        print(f"{name}: {value}")
    print(
        ", ".join(f"{number} {kind} queries" for kind, number in counted.items())
        + f"; {REPORT.relative_to(ROOT)}/report.md"
    )
    print("\n".join(wrong) or "nothing is wrong", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
