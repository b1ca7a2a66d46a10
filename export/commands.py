"""The command line of export: `modelyard export`."""

from pathlib import Path
from typing import Annotated

import tyro

from export.package import export_run


def export_command(arguments: list[str]) -> None:
    """`modelyard export RUN --repository models [--name N]`."""
    tyro.cli(_export, prog="modelyard export", args=arguments)


def _export(
    run: tyro.conf.Positional[Path],
    /,
    repository: Path = Path("models"),
    name: str | None = None,
    max_batch_size: Annotated[int, tyro.conf.arg(help="largest batch that is proven")] = 32,
) -> None:
    """Make the next version of a bundle from a finished run, with proof. The last line printed is its folder.

    Args:
        run: folder of a finished run
        repository: folder of bundles, <repository>/<name>/<version>
        name: the model's name; the run's if none is given
    """
    print(export_run(run, repository, name, max_batch_size))
