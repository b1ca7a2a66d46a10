"""What the server counted of a run, beside what was counted here: nothing may have got lost between the two.

Knows Prometheus' text and a ledger. Knows nothing of Locust.
"""

import csv
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from loadtests.traffic.ledger import Ledger

NAME = "modelyard_requests_total"
SETTLE_S = 0.5
"""Workers push their figures every tenth of a second; and an answer is counted after it is sent."""
Counts = dict[tuple[str, int], int]
"""(route, status) -> requests."""


def scrape(url: str, api_key: str | None = None) -> Counts:
    """The counters of a server now.

    Raises:
        OSError: it does not answer.
    """
    time.sleep(SETTLE_S)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:  # noqa: S310
        return parse(answer.read().decode())


def parse(text: str) -> Counts:
    """Of a scrape."""
    return {
        (sample.labels["route"], int(sample.labels["code"])): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == NAME
    }


def differences(before: Counts, after: Counts, ledger: Ledger) -> list[str]:
    """Where the server's count of a route and a status is not what was counted here, in words."""
    mine = ledger.by_route()
    routes = {route for route, _ in mine}
    theirs = {key: count - before.get(key, 0) for key, count in after.items() if key[0] in routes}
    return [
        f"{route} {status}: the server counted {theirs.get((route, status), 0)}, here {mine.get((route, status), 0)}"
        for route, status in sorted(mine.keys() | theirs.keys())
        if theirs.get((route, status), 0) != mine.get((route, status), 0)
    ]


def apart(before: Counts, after: Counts, ledger: Ledger) -> int:
    """How many requests both do not agree on."""
    mine = ledger.by_route()
    routes = {route for route, _ in mine}
    theirs = {key: count - before.get(key, 0) for key, count in after.items() if key[0] in routes}
    return sum(abs(theirs.get(key, 0) - mine.get(key, 0)) for key in mine.keys() | theirs.keys())


def locust_total(stats_csv: Path) -> int:
    """Requests that Locust's own table holds, over all its rows."""
    with stats_csv.open(encoding="utf-8", newline="") as file:
        return sum(int(row["Request Count"]) for row in csv.DictReader(file) if row["Name"] == "Aggregated")
