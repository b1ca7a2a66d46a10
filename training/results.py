"""Results: one JSON file a recipe, beside a baseline and the published figure, and the page made from all of them.

Knows files and figures. Knows nothing of how they were made, and leaves those of a GPU to gpu_results.py.
"""

import os
import platform
import sys
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from bundle.errors import RunError
from bundle.spec import Spec, problems
from training.gpu_results import GPU_FILE, gpu_section

RESULTS_FILE = "results.json"
OTHER_FILES = (GPU_FILE, "capacity.json")
"""What lies beside them: a GPU's figures, and those of docs/capacity.md."""
NUM_SHOWN = 3  # the table shows a recipe's first figures; its JSON file has all, those of each class too
PREAMBLE = """\
# Results

Made by `make reproduce` from `results/*.json`; do not edit. Each model was chosen on a validation split and saw the
test split once, at the end. *Baseline* needs no network; *published* is what others report on the same test split.

"""


class Results(Spec):
    """The figures of one run on its test split."""

    recipe: str
    task: str
    data: str
    split: str
    metrics: dict[str, float]
    baseline: dict[str, float]
    published: dict[str, float]
    seconds: float
    command: str
    seed: int
    commit: str
    machine: str


def write_results(path: Path, results: Results) -> None:
    """Write one JSON file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Read one JSON file.

    Raises:
        RunError: unreadable or not of this form.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as cause:
        raise RunError(f"{path}: not a results file: {problems(cause)}") from None


def table(folder: Path) -> str:
    """docs/results.md as text, from every results file in a folder."""
    lines = [
        "| recipe | data | test metrics | baseline | published | minutes | seed | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = [read_results(path) for path in sorted(folder.glob("*.json")) if path.name not in OTHER_FILES]
    for one in found:
        cells = (
            f"`{one.recipe}`", one.data, _figures(dict(islice(one.metrics.items(), NUM_SHOWN))),
            _figures(one.baseline), _figures(one.published),
            f"{one.seconds / 60:.1f}", str(one.seed), one.commit[:10],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    machines = sorted({one.machine for one in found})
    return PREAMBLE + "\n".join(lines) + "\n\nMachine: " + "; ".join(machines) + ".\n" + gpu_section(folder)


def _figures(figures: dict[str, float]) -> str:
    return "<br>".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items()) or "-"


def this_machine() -> str:
    """Processor and number of cores, for people who compare seconds."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.stdout.write(table(Path(sys.argv[1])))
