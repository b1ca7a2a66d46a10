"""`python -m loadtests.score_online MODEL INPUT`: every row over HTTP and through a job, compared row for row.

INPUT is what `modelyard score` takes, the test split of a model say. A service is started on the model's repository and
asked for one row at a time. Exit code 1 where an answer differs by more than `--atol`, or where one errs and the other
does not. Knows the service's address and a job's output. Knows nothing of how either answers.
"""

import http.client
import json
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from bundle.store import newest, open_bundle
from loadtests.server import ready, start_service
from scoring.columns import ABOUT, WHERE
from scoring.job import Columns, Settings, score
from scoring.source import open_source
from scoring.store import place
from serving.endpoints import ENDPOINTS

NOT_THE_ANSWER = {*WHERE, *ABOUT, "version"}


@dataclass(frozen=True)
class Options:
    """Compare a service and a job."""

    model: tyro.conf.Positional[Path]
    """<repository>/<name>; its newest version."""
    input: tyro.conf.Positional[str]
    column: tuple[str, ...] = ()
    atol: float = 1e-6
    """Numbers of a batch may round differently from those of a row alone."""


def main(options: Options) -> int:
    """Ask both, compare, tell."""
    folder = newest(options.model)
    manifest = open_bundle(folder).manifest
    with tempfile.TemporaryDirectory() as output:
        columns = Columns(options.column)
        done = score(Settings(folder, options.input, output, columns=columns, format="jsonl"))
        parts = sorted(Path(output).glob("part-*.jsonl"))
        offline = [json.loads(line) for part in parts for line in part.read_text(encoding="utf-8").splitlines()]
    source = open_source(place(options.input), manifest.preprocess.kind, columns)
    raws = (row.raw() for index in range(len(source.files)) for row in source.rows(index, 0))
    service = start_service(options.model.parent)
    equal = worst = 0.0
    with ready(service):
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        endpoint = ENDPOINTS[manifest.task]
        for row, raw in zip(offline, raws, strict=True):
            path = f"{endpoint.path}?model={manifest.name}"
            connection.request("POST", path, raw, {"content-type": "application/octet-stream"})
            body = json.loads(connection.getresponse().read())
            apart = _apart(_answer(row), body.get("predictions", [{"error": body.get("error")}])[0])
            worst = max(worst, apart)
            equal += apart == 0
            if apart > options.atol:
                print(f"{row['source']}, row {row['row']}: {apart:g} apart: {body}", file=sys.stderr)
    print(
        f"{manifest.name}: {done.num_rows} rows ({done.num_errors} bad), {equal:.0f} equal to the bit, worst {worst:g}"
    )
    return int(worst > options.atol)


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    if row["error"]:
        return {"error": row["error"]}
    return {name: value for name, value in row.items() if name not in NOT_THE_ANSWER}


def _apart(mine: Any, theirs: Any) -> float:
    """The largest difference of a number; infinite where anything else differs. Null is what JSON leaves out."""
    match mine, theirs:
        case float() | int(), float() | int():
            return abs(float(mine) - float(theirs))
        case dict(), dict():
            return max((_apart(mine.get(key), theirs.get(key)) for key in mine.keys() | theirs.keys()), default=0.0)
        case list(), list() if len(mine) == len(theirs):
            return max(map(_apart, mine, theirs), default=0.0)
    return 0.0 if mine == theirs else math.inf


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, prog="python -m loadtests.score_online")))
