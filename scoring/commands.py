"""The command line of scoring: `modelyard score BUNDLE INPUT OUTPUT`."""

import dataclasses
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro

from bundle.errors import BadInput, ModelyardError, OutputTaken, TooManyErrors
from runtime.choice import Wanted
from runtime.runtime import Placement
from scoring.job import Plan, Settings, Summary, plan, score
from scoring.source import Columns

EXIT_TOO_MANY_ERRORS = 3
EXIT_OUTPUT_TAKEN = 4


def score_command(arguments: list[str]) -> None:
    """`modelyard score BUNDLE INPUT OUTPUT [--column NAME ...]`."""
    tyro.cli(_score, prog="modelyard score", args=arguments)


def _score(
    bundle: tyro.conf.Positional[Path],
    input: tyro.conf.Positional[str],  # noqa: A002 - its name on the command line
    output: tyro.conf.Positional[str],
    column: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (),
    keep: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[=AS] ...")] = (),
    format: Literal["parquet", "csv", "jsonl"] = "parquet",  # noqa: A002
    pictures: Literal["columns", "files"] = "columns",
    options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = (),
    limit: int | None = None,
    sample: float | None = None,
    max_error_share: float = 1.0,
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    rows_per_shard: int = 10_000,
    workers: int | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    gpu: int = 0,
    artefact: str | None = None,
    engines: Path | None = None,
    metrics_port: int | None = None,
    push_gateway: str | None = None,
    runner: Literal["local", "ray"] = "local",
    ray_address: str = "auto",
    ray_actors: Annotated[str | None, tyro.conf.arg(metavar="N|MIN,MAX")] = None,
) -> None:
    """Answer every row of a data set with the code that serves: prepare, run, decode.

    The same command again goes on where a job stopped, and gives the same bytes as an undisturbed one. A bad row has
    `error` filled, and is never lost.

    Exit codes: 0 all rows are written (bad ones among them), 1 an error, 2 wrong usage, 3 more bad rows than
    --max-error-share allows, 4 another job writes there, 130 and 143 interrupted (SIGINT, SIGTERM).

    Args:
        bundle: A bundle (models/NAME/VERSION), or a model's folder for its newest version.
        input: Folder, file or pattern of pictures or tables (.parquet, .csv, .jsonl; .gz, .zst); local, s3://, gs://.
        output: A new folder for the parts, local, s3:// or gs://.
        column: The column of the inputs (several: numbers of one series); tried without: image, path, text, series ...
        keep: Columns of the input that go into the output.
        format: Of the output.
        pictures: Masks and maps of the answers: as bytes in columns, or as PNG files beside the parts.
        options: Of the task, as in a request: top_k=3, threshold=0.4 ...
        limit: Score so many rows of the input and stop.
        sample: Score this share of the rows, the same ones every time.
        max_error_share: Stop when more than this share of the rows is bad.
        dry_run: Check everything, say what would be done, and write nothing.
        rows_per_shard: Rows of a part: what is done again, at most, after a crash.
        workers: Threads; as many as there are processors, if left out.
        device: Where the model runs.
        gpu: Which GPU.
        artefact: Exactly this artefact of the bundle.
        engines: Folder of engines and proofs that lie outside of the bundle.
        metrics_port: Serve the job's figures for Prometheus while it runs.
        push_gateway: Push them to this gateway (host:port) every 15 seconds, and at the end.
        runner: On this machine, or on a Ray cluster; the output is the same, and one may finish what the other began.
        ray_address: The cluster (host:port); auto is the one of this machine, local one of its own for this job.
        ray_actors: So many of them, each with --workers processors (1; beside a GPU 4); as fit, if left out.
    """
    settings = Settings(
        bundle=bundle,
        input=input,
        output=output,
        columns=Columns(column, _renamed(keep)),
        format=format,
        pictures=pictures,
        options=options,
        placement=Placement(device, gpu),
        wanted=Wanted(artefact=artefact, engines=engines),
        rows_per_shard=rows_per_shard,
        limit=limit,
        sample=sample,
        max_error_share=max_error_share,
        workers=workers,
        metrics_port=metrics_port,
        push_gateway=push_gateway,
        runner=runner,
        ray_address=ray_address,
        ray_actors=_actors(ray_actors),
    )
    if dry_run:
        _describe(plan(settings))
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        summary = score(settings)
    except TooManyErrors as cause:
        _fail(cause, EXIT_TOO_MANY_ERRORS)
    except OutputTaken as cause:
        _fail(cause, EXIT_OUTPUT_TAKEN)
    except MemoryError:
        _fail("the memory does not suffice; fewer --workers need less, or a page of the input is too large", 1)
    except ModelyardError as cause:
        _fail(cause, 1)
    print(_told(summary), file=sys.stderr)
    print(output)
    _end_on_ray(0)


def _told(summary: Summary) -> str:
    errors = ", ".join(f"{number} {cause}" for cause, number in summary.errors.items())
    return (
        f"{summary.num_rows} rows in {summary.num_parts} parts, {summary.num_errors} bad"
        f"{f' ({errors})' if errors else ''}; {summary.rows_now} now, {summary.rows_per_s:g} rows/s "
        f"({summary.artefact} in {summary.runtime} on {summary.device}, batches of up to {summary.batch_size})"
    )


def _actors(given: str | None) -> tuple[int, int] | None:
    """`4`, or `2,16`."""
    if given is None:
        return None
    fewest, _, most = given.partition(",")
    try:
        bounds = int(fewest), int(most or fewest)
    except ValueError:
        bounds = (0, 0)
    if not 1 <= bounds[0] <= bounds[1]:
        raise BadInput(f"--ray-actors is '{given}'; give a number of at least 1, or two with a comma: 2,16")
    return bounds


def _renamed(keep: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in keep]
    return {old: new or old for old, _, new in pairs}


def _describe(planned: Plan) -> None:
    """What a job would do."""
    source, choice = planned.source, planned.choice
    rows = source.num_rows
    print(f"model    {planned.job.bundle} (digest {planned.job.digest[:12]})")
    print(f"artefact {choice.artefact} in {choice.runtime} on {choice.device}")
    print(f"why      {choice.why}")
    known = "how many rows is known once they are read" if rows is None else f"{rows} rows"
    print(f"input    {known}; {source.about}")
    print(f"columns  {', '.join(f'{field.name} ({field.type})' for field in planned.target.schema)}")
    parts = f"parts of up to {planned.cut.rows_per_shard} rows, {planned.job.format}"
    print(f"output   {planned.target.output}: {parts}")
    for name, value in dataclasses.asdict(planned.cut).items():
        if name in ("limit", "sample") and value is not None:
            print(f"{name:<8} {value}")
    print("nothing was written (--dry-run)")


def _fail(cause: object, code: int) -> NoReturn:
    print(f"modelyard score: {cause}", file=sys.stderr)
    _end_on_ray(code)
    sys.exit(code)


def _end_on_ray(code: int) -> None:
    cluster = sys.modules.get("scoring.cluster")
    if cluster:
        cluster.end(code)


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)  # on the way out, claims are given back
