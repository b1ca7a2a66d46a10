"""The figures of a GPU, results/gpu.json: their form, and the part of docs/results.md that is made from them.

Written by `make bench-gpu` on a machine that has a GPU, and by nothing else: figures of a CPU are refused. Knows files
and figures. Knows nothing of how they were measured.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from bundle.device import DeviceInfo
from bundle.errors import RunError
from bundle.spec import Sha256, Spec, problems

GPU_FILE = "gpu.json"
NONE_YET = "No GPU figures yet: no machine with a GPU was to be had; `make bench-gpu` writes them."


class Pace(Spec):
    """One batch size, from arrays in the host's memory to arrays in the host's memory."""

    batch_size: int = Field(ge=1)
    rows_per_second: float = Field(gt=0)
    p50_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    """Of a batch."""
    num_runs: int = Field(ge=1)


class EngineRow(Spec):
    """One way to run a model: its paces, or why there are none."""

    engine: str
    precision: str
    how: str
    """Settings that matter, for people."""
    max_error: float | None = None
    """Largest difference to the golden outputs, at all batch sizes."""
    limit: float | None = None
    """That it was held to."""
    paces: tuple[Pace, ...] = ()
    left_out: str = ""
    """Why it was not measured."""


class HttpRow(Spec):
    """One number of connections to the service."""

    sent: str
    """What a request holds."""
    rows_per_request: int = Field(ge=1)
    connections: int = Field(ge=1)
    rows_per_second: float
    p50_ms: float
    p99_ms: float
    """Of a request."""
    checked: int
    """Answers that were compared with the engine's own, meanwhile."""
    wrong: int


class Served(Spec):
    """The service's rate beside that of the engine it chose, on the same device."""

    artefact: str = ""
    runtime: str = ""
    why: str = ""
    own_rows_per_second: float = 0.0
    """The engine alone, at its best batch size and number of callers."""
    own_layout: str = ""
    http: tuple[HttpRow, ...] = ()
    left_out: str = ""
    """Why it was not measured."""

    @property
    def share(self) -> float:
        """The service's best rate over the engine's own."""
        best = max((row.rows_per_second for row in self.http), default=0.0)
        return best / self.own_rows_per_second if self.own_rows_per_second else 0.0


class ModelFigures(Spec):
    """One model."""

    name: str
    task: str
    digest: Sha256
    """Of its bundle."""
    inputs: str
    rows: tuple[EngineRow, ...]
    served: Served


class GpuResults(Spec):
    """All that one run measured."""

    device: DeviceInfo
    driver: str
    machine: str
    versions: dict[str, str]
    commit: str
    commands: tuple[str, ...]
    """Those that made engines and proofs, with how they ended, and the one that measured."""
    models: tuple[ModelFigures, ...]


def write_gpu_results(path: Path, results: GpuResults) -> None:
    """Write one JSON file, making its folder.

    Raises:
        RunError: these are a CPU's figures, and the file is where a GPU's belong.
    """
    if path.name == GPU_FILE and results.device.kind != "cuda":
        raise RunError(f"{path}: figures of {results.device} do not belong there; name another file with --json-file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_gpu_results(path: Path) -> GpuResults:
    """Read one JSON file.

    Raises:
        RunError: unreadable, not of this form, or no GPU's.
    """
    try:
        results = GpuResults.model_validate_json(path.read_bytes())
    except ValidationError as cause:
        raise RunError(f"{path}: not the figures of a GPU: {problems(cause)}") from None
    if results.device.kind != "cuda":
        raise RunError(f"{path}: holds the figures of {results.device}, which is no GPU; `make bench-gpu` on one")
    return results


def gpu_section(folder: Path) -> str:
    """The part of docs/results.md: a table a model, or one line where there are no figures."""
    path = folder / GPU_FILE
    if not path.is_file():
        return f"\n## On a GPU\n\n{NONE_YET}\n"
    results = read_gpu_results(path)
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    commands = "\n".join(f"- `{command}`" for command in results.commands)
    head = f"{results.device}, driver {results.driver}; {results.machine}; commit {results.commit[:10]}; {versions}."
    models = "\n".join(_model(model) for model in results.models)
    made = f"Made by `make bench-gpu`; `results/{GPU_FILE}` has all figures."
    return f"\n## On a GPU\n\n{made} {head}\n\n{commands}\n{models}"


def _model(model: ModelFigures) -> str:
    sizes = sorted({pace.batch_size for row in model.rows for pace in row.paces})
    columns = ["engine", "precision", *(f"batch {size}: rows/s, p50 / p99 ms" for size in sizes)]
    lines = [f"\n### `{model.name}`\n", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [_row(row, sizes) for row in model.rows if row.paces]
    for row in model.rows:
        if not row.paces:
            lines.append(f"\nNot measured: {row.engine}, {row.precision}: {row.left_out}")
    return "\n".join([*lines, "", _served(model.served), ""])


def _row(row: EngineRow, sizes: list[int]) -> str:
    by_size = {pace.batch_size: pace for pace in row.paces}
    cells = [row.engine, row.precision]
    for size in sizes:
        pace = by_size.get(size)
        cells.append(f"{pace.rows_per_second:.4g}, {pace.p50_ms:.3g} / {pace.p99_ms:.3g}" if pace else "-")
    return f"| {' | '.join(cells)} |"


def _served(served: Served) -> str:
    if not served.http:
        return f"Not served: {served.left_out}"
    best = max(served.http, key=lambda row: row.rows_per_second)
    rates = "; ".join(
        f"{row.sent}, {row.connections} connections: {row.rows_per_second:.4g} rows/s, p99 {row.p99_ms:.3g} ms"
        for row in served.http
    )
    return (
        f"Served ('{served.artefact}' in {served.runtime}): {best.rows_per_second:.4g} rows/s over HTTP, "
        f"{served.share:.2f} of the engine's own {served.own_rows_per_second:.4g} ({served.own_layout}). {rates}."
    )
