"""The command line of comparison: `modelyard compare BUNDLE_A BUNDLE_B INPUT`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bundle.errors import BadInput
from runtime.choice import Wanted
from runtime.runtime import Placement
from scoring.comparison import Comparison, Settings, compare
from scoring.loaded import Loaded
from scoring.report import figure, write_comparison
from scoring.source import Columns
from scoring.told import printable

EXIT_TOO_DIFFERENT = 3


def compare_command(arguments: list[str]) -> None:
    """`modelyard compare BUNDLE_A BUNDLE_B INPUT [--report DIR]`."""
    tyro.cli(_compare, prog="modelyard compare", args=arguments)


def _compare(
    bundle_a: tyro.conf.Positional[Path],
    bundle_b: tyro.conf.Positional[Path],
    input: tyro.conf.Positional[str],  # noqa: A002 - its name on the command line
    column: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (),
    report: Path | None = None,
    max_disagreement: float | None = None,
    atol: float | None = None,
    artefact_a: str | None = None,
    artefact_b: str | None = None,
    examples: int = 24,
    limit: int | None = None,
    workers: int | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    gpu: int = 0,
    engines: Path | None = None,
) -> None:
    """Answer a data set with two models of one task, and show where they differ. No labels are needed.

    Two versions of a model, or two artefacts of one bundle (--artefact-a, --artefact-b). Exit codes: 0 compared, 1 an
    error, 2 wrong usage, 3 more answers differ than --max-disagreement allows.

    Args:
        bundle_a: A bundle (models/NAME/VERSION), or a model's folder for its newest version.
        bundle_b: The other one; the same for two artefacts of one.
        input: Folder, file or pattern of pictures or tables, as `modelyard score` reads them.
        column: The column of the inputs (several: numbers of one series); tried without: image, path, text, series ...
        report: Folder for report.html and metrics.json.
        max_disagreement: Share of the answers that may differ.
        atol: An error of so much in an output explains a difference; 0 if left out (of embeddings: what is proven).
        artefact_a: Exactly this artefact of A.
        artefact_b: Exactly this artefact of B.
        examples: How many of the largest differences the report shows.
        limit: Compare so many rows of the input and stop.
        workers: Threads; as many as there are processors, if left out.
        device: Where both run.
        gpu: Which GPU.
        engines: Folder of engines and proofs that lie outside of the bundles.
    """
    if max_disagreement is not None and not 0 <= max_disagreement <= 1:
        raise BadInput(f"--max-disagreement is {max_disagreement:g}; a share lies between 0 and 1")
    done = compare(
        Settings(
            one=bundle_a,
            other=bundle_b,
            input=input,
            columns=Columns(column),
            placement=Placement(device, gpu),
            wanted=(Wanted(artefact=artefact_a, engines=engines), Wanted(artefact=artefact_b, engines=engines)),
            atol=atol,
            limit=limit,
            examples=examples if report else min(examples, 1),
            workers=workers,
        )
    )
    for line in _told(done):
        print(line)
    if report:
        print(write_comparison(report, done))
    if max_disagreement is not None and done.share > max_disagreement:
        print(f"modelyard compare: {done.share:.2%} of the answers differ, more than --max-disagreement "
              f"{max_disagreement:g} allows", file=sys.stderr)  # fmt: skip
        sys.exit(EXIT_TOO_DIFFERENT)


def _told(done: Comparison) -> list[str]:
    rows = done.rows
    for who, number in rows.errors.items():
        print(f"{number} rows are answered by {who} (first: {rows.first[who]})", file=sys.stderr)
    for line in done.label_differences():
        print(f"labels: {line}", file=sys.stderr)
    mean = figure(rows.sum_apart / rows.both)
    lines = [
        f"A         {_name(done.one)}",
        f"B         {_name(done.other)}",
        f"rows      {rows.both} answered by both, of {rows.read}",
        f"differing {rows.differing} ({done.share:.2%}), {rows.within_proof} of them within proven errors",
        f"apart     {mean} on average, {figure(rows.max_apart)} at most ({done.measured})",
    ]
    if done.largest:
        _, first = done.largest[0]
        lines.append(printable(f"largest   {first.source}, row {first.number}: {first.reason}"))
    return lines


def _name(loaded: Loaded) -> str:
    about = loaded.about()
    cost = f", {about['batch_p50_ms']:g} ms a batch of {about['batch_size']}" if about["batch_p50_ms"] else ""
    return f"{about['model']}/{about['version']} {about['artefact']} in {about['runtime']} on {about['device']}{cost}"
