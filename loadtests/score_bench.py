"""`python -m loadtests.score_bench build/bench/models`: the rate of `modelyard score` over ceiling (b) of `make bench`.

Ceiling (b) is decode + prepare + run + answer by hand (loadtests/ceilings.py) with the best layout of threads on these
processors. A job scores the same inputs out of Parquet, and everything counts from the loaded model on, as it does
there: reading, writing, and the parts. Both in turn, round by round; processor time, too, which tells more than the
clock where others want the same processors. Knows ceilings and jobs. Knows nothing of how either works.
"""

import tempfile
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import tyro
from pyarrow import parquet

from bundle.store import newest
from loadtests.bench_models import PICTURE, TEXT
from loadtests.ceilings import Layout, Work, by_hand, measure, together
from loadtests.questions import Questions, questions
from loadtests.rounds import Rounds
from runtime.cpus import available_cpus
from scoring import job

SCORE = "score"


@dataclass(frozen=True)
class Rate:
    """What one of them reached."""

    per_second: float
    cpu_ms: float
    """Of all processors, a row; a job's holds loading the model, too."""


@dataclass(frozen=True)
class Options:
    """Measure scoring over what the same processors do by hand."""

    repository: tyro.conf.Positional[Path]
    """Folder of the models, as `python -m loadtests.bench_models` makes it."""
    models: tuple[str, ...] = (PICTURE, TEXT)
    seconds: float = 4.0
    """Of one measurement of the ceiling; a job gets as many rows as take about so long."""
    rounds: int = 5


def main(options: Options) -> None:
    """A line a model."""
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            print(row(questions(options.repository / name), newest(options.repository / name), options, Path(folder)))


def row(asked: Questions, bundle: Path, options: Options, folder: Path) -> str:
    """Measure one model."""
    layouts = {f"(b) {layout}": layout for layout in together(available_cpus())}
    works = {name: by_hand(bundle, asked.bodies, layout) for name, layout in layouts.items()}
    first = {name: measure(works[name], layout, options.seconds / 2) for name, layout in layouts.items()}
    best = max(first, key=lambda name: first[name].per_second)
    num_rows = int(first[best].per_second * options.seconds)
    given = folder / "in.parquet"
    parquet.write_table(pa.table({"image": list(islice(cycle(asked.bodies), num_rows))}), given)
    _score(bundle, given, folder / "warm")
    count = iter(range(options.rounds))
    contestants = {
        best: lambda: _by_hand(works[best], layouts[best], options.seconds),
        SCORE: lambda: _score(bundle, given, folder / f"out-{next(count)}"),
    }
    seen = Rounds(contestants, options.rounds)
    mine, theirs = seen.of(SCORE), seen.of(best)
    return (
        f"{asked.name}: {mine.per_second:.1f} rows/s, {best} {theirs.per_second:.1f}; ratio "
        f"{seen.ratio(SCORE, best):.3f}, of processor time {theirs.cpu_ms / mine.cpu_ms:.3f} ({mine.cpu_ms:.2f} ms a "
        f"row, {theirs.cpu_ms:.2f} by hand); medians of {options.rounds} rounds of {options.seconds:g} s"
    )


def _by_hand(work: Work, layout: Layout, seconds: float) -> Rate:
    cpu, start = time.process_time(), time.perf_counter()
    pace = measure(work, layout, seconds)
    num_rows = pace.per_second * (time.perf_counter() - start)
    return Rate(pace.per_second, (time.process_time() - cpu) / num_rows * 1e3)


def _score(bundle: Path, given: Path, output: Path) -> Rate:
    cpu = time.process_time()
    done = job.score(job.Settings(bundle, str(given), str(output), columns=job.Columns(("image",))))
    if done.num_errors:
        raise RuntimeError(f"{done.num_errors} of {done.num_rows} rows are bad: {done.errors}")
    return Rate(done.rows_per_s, (time.process_time() - cpu) / done.num_rows * 1e3)


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m loadtests.score_bench"))
