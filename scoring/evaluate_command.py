"""The command line of evaluation: `modelyard evaluate BUNDLE LABELLED_INPUT`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from runtime.choice import Wanted
from runtime.runtime import Placement
from scoring.evaluation import Evaluation, Settings, evaluate
from scoring.report import figure, write_evaluation
from scoring.source import Columns
from scoring.told import brief, printable


def evaluate_command(arguments: list[str]) -> None:
    """`modelyard evaluate BUNDLE LABELLED_INPUT [--target COLUMN ...] [--report DIR]`."""
    tyro.cli(_evaluate, prog="modelyard evaluate", args=arguments)


def _evaluate(
    bundle: tyro.conf.Positional[Path],
    input: tyro.conf.Positional[str],  # noqa: A002 - its name on the command line
    target: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (),
    column: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (),
    report: Path | None = None,
    worst: int = 24,
    limit: int | None = None,
    workers: int | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    gpu: int = 0,
    artefact: str | None = None,
    engines: Path | None = None,
) -> None:
    """Answer a labelled data set with the code that serves, and hold the answers to the labels.

    The figures are made by the code that training and export use. What has no label that the model knows is counted
    and told. Exit codes: 0 judged, 1 an error, 2 wrong usage.

    Args:
        bundle: A bundle (models/NAME/VERSION), or a model's folder for its newest version.
        input: FOLDER/<label>/<picture>, a table with a column of labels, images/ beside masks/, COCO's JSON, or good/
            beside folders of defects; local, s3://, gs://. docs/evaluate.md says which for which task.
        target: The column of the labels (masks, boxes); anomaly detection also takes a second one, of masks.
        column: The column of the inputs (several: numbers of one series); tried without: image, path, text, series ...
        report: Folder for report.html and metrics.json.
        worst: How many of the worst answers the report shows.
        limit: Judge so many rows of the input and stop.
        workers: Threads; as many as there are processors, if left out.
        device: Where the model runs.
        gpu: Which GPU.
        artefact: Exactly this artefact of the bundle.
        engines: Folder of engines and proofs that lie outside of the bundle.
    """
    done = evaluate(
        Settings(
            bundle=bundle,
            input=input,
            columns=Columns(column),
            targets=target,
            placement=Placement(device, gpu),
            wanted=Wanted(artefact=artefact, engines=engines),
            limit=limit,
            worst=worst if report else 0,
            workers=workers,
        )
    )
    for line in _told(done):
        print(line)
    if report:
        print(write_evaluation(report, done))


def _told(done: Evaluation) -> list[str]:
    """Figures first on standard output; what was left out on standard error."""
    rows, manifest = done.rows, done.loaded.manifest
    evidence = done.evidence()
    lines = [
        f"model     {manifest.name}/{manifest.version}, {done.loaded.choice.artefact} on {done.loaded.choice.device}"
    ]
    lines += [f"rows      {rows.judged} judged of {rows.read}"]
    for name, value in done.figures.items():
        same = evidence and evidence[0] == name
        said = f"   (evidence said {figure(evidence[1])} on its test split)" if evidence and same else ""
        lines.append(f"{printable(name):<24} {figure(value)}{said}")
    for cause, number in rows.left_out.items():
        print(f"{number} rows are not judged: {cause} (first: {rows.first[cause]})", file=sys.stderr)
    if rows.boxes_left_out:
        print(f"{rows.boxes_left_out} boxes are left out of the truth", file=sys.stderr)
    if rows.unknown:
        print(f"labels that the model does not know: {brief(list(rows.unknown))}", file=sys.stderr)
    if never := done.never_seen():
        print(f"labels that the data do not have: {brief(never)}", file=sys.stderr)
    return lines
