"""The command line of training: `modelyard train`, `recipes` and `data`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import ValidationError

from bundle.errors import RunError
from bundle.spec import problems
from training.config import TrainConfig
from training.data.fetch import MIRROR_VARIABLE, PUBLIC, fetch
from training.own_data import OWN_DATA, load_own_data
from training.recipes import RECIPES, load_recipe
from training.results import RESULTS_FILE, read_results, write_results
from training.run import train


@dataclass
class TrainCommand:
    """Train a recipe; every setting of it can be overridden. The last line printed is the run folder."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    out: Path = Path("runs")
    """Folder that run folders are made in."""
    results: Path = Path("results")
    """Folder that the figures of an unchanged recipe are written to, as <recipe>.json."""


def train_command(arguments: list[str]) -> None:
    """`modelyard train RECIPE [--out runs] [overrides]`, or `modelyard train KIND --data ...` for data of one's own."""
    if not arguments or arguments[0].startswith("-"):
        print("usage: modelyard train RECIPE [--out runs] [overrides]   (modelyard train RECIPE --help lists them)")
        print(f"       modelyard train {'|'.join(OWN_DATA)} --data ... [overrides]\n")
        recipes_command([])
        sys.exit(0 if set(arguments) & {"-h", "--help"} else 2)
    name = arguments[0]
    config, rest = (_look_at if name in OWN_DATA else _read_recipe)(name, arguments[1:])
    try:
        command = tyro.cli(TrainCommand, prog=f"modelyard train {name}", args=rest, default=TrainCommand(config=config))
    except ValidationError as cause:  # tyro explains those of nested settings only
        raise RunError(problems(cause)) from None
    folder = train(command.config, command.out, name)
    results = read_results(folder / RESULTS_FILE)
    if name in RECIPES and command.config == config:
        plain = results.model_copy(update={"command": f"modelyard train {name}"})  # where it lay is nobody's matter
        write_results(command.results / f"{name}.json", plain)
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in results.metrics.items())
    baseline = ", ".join(f"{metric} {value:.4f}" for metric, value in results.baseline.items())
    print(f"test {figures} (baseline: {baseline}) after {results.seconds:.0f} s of training", file=sys.stderr)
    print(folder)


def _read_recipe(name: str, arguments: list[str]) -> tuple[TrainConfig, list[str]]:
    if name not in RECIPES:
        raise RunError(
            f"recipe '{name}' is not known; known are {', '.join(RECIPES)}; for data of one's own {', '.join(OWN_DATA)}"
        )
    return load_recipe(name)(), arguments


def _look_at(kind: str, arguments: list[str]) -> tuple[TrainConfig, list[str]]:
    """A configuration from the data; arguments that say nothing about the data are left for the overrides."""
    try:
        return tyro.cli(load_own_data(kind), prog=f"modelyard train {kind}", args=arguments, return_unknown_args=True)
    except ValidationError as cause:
        raise RunError(problems(cause)) from None


def recipes_command(arguments: list[str]) -> None:
    """`modelyard recipes`: each name with the first line of what it says of itself."""
    tyro.cli(_no_arguments, prog="modelyard recipes", args=arguments)
    width = max(map(len, RECIPES))
    for name in RECIPES:
        print(f"{name:<{width}}  {(load_recipe(name).__doc__ or '').splitlines()[0]}")


def _no_arguments() -> None:
    """List the recipes."""


def data_command(arguments: list[str]) -> None:
    """`modelyard data list` and `modelyard data fetch NAME`."""
    tyro.extras.subcommand_cli_from_dict(
        {"list": _list_data, "fetch": _fetch_data}, prog="modelyard data", args=arguments
    )


def _list_data() -> None:
    """List the public data sets that recipes use."""
    for name, public in PUBLIC.items():
        print(f"{name}  {public.about} (licence: {public.licence})")
    print(f"\nA folder named in {MIRROR_VARIABLE} is looked into first, at <folder>/<name>/.")


def _fetch_data(name: tyro.conf.Positional[str], /) -> None:
    """Find or download a data set, check it, and print its folder."""
    print(fetch(name))
