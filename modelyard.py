"""The command: one table of subcommands, each imported only when it is used, so none pays for another's libraries."""

import sys
from importlib import import_module

from bundle.errors import ModelyardError

COMMANDS = {
    "recipes": ("training.commands:recipes_command", "training", "list the recipes"),
    "train": ("training.commands:train_command", "training", "train a recipe: RECIPE [--out runs] [overrides]"),
    "data": ("training.commands:data_command", "training", "list or fetch public data sets"),
    "export": (
        "export.commands:export_command",
        "export,serving",
        "make a bundle from a run, with proof: RUN --repository models",
    ),
    "import": (
        "export.commands:import_command",
        "export,serving",
        "make a bundle from somebody's model, with proof: hf FOLDER | onnx FILE",
    ),
    "inspect": (
        "bundle.commands:inspect_command",
        "serving",
        "show a bundle's manifest, artefacts and evidence: BUNDLE",
    ),
    "build-engine": (
        "export.device_commands:build_engine_command",
        "tensorrt",
        "build TensorRT engines on the GPU that will serve, and prove them there: BUNDLE or REPOSITORY",
    ),
    "prove": (
        "export.device_commands:prove_command",
        "serving",
        "prove a bundle's artefacts on the device at hand: BUNDLE [--device cpu|cuda]",
    ),
    "tune": (
        "export.tune_command:tune_command",
        "serving,tune",
        "choose batch size, instances and artefact for a limit of p99 on this device: BUNDLE --p99-ms 50",
    ),
    "fetch": (
        "delivery.commands:fetch_command",
        "fetch",
        "copy bundles from s3://, gs://, oci:// or a folder, hashes checked: SOURCE... --repository DIR",
    ),
    "serve": ("serving.commands:serve_command", "serving", "answer over HTTP: REPOSITORY [--host --port ...]"),
    "score": (
        "scoring.commands:score_command",
        "scoring",
        "answer every row of a data set: BUNDLE INPUT OUTPUT",
    ),
    "evaluate": (
        "scoring.evaluate_command:evaluate_command",
        "evaluation",
        "hold answers to a labelled data set: BUNDLE LABELLED_INPUT [--report DIR]",
    ),
    "compare": (
        "scoring.compare_command:compare_command",
        "evaluation",
        "show where two models differ: BUNDLE_A BUNDLE_B INPUT [--report DIR]",
    ),
    "key": (
        "serving.security.key_command:key_command",
        "serving",
        "make an API key, and its line for the file of keys: NAME",
    ),
}
"""Subcommand -> ("module:function", the extras it needs, one line of help); `gpu` does for `serving`."""


def main(arguments: list[str] | None = None) -> None:
    """Run a subcommand; an error we foresaw is one line on standard error and exit code 1, bad usage is 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if arguments else 2)
    if arguments[0] not in COMMANDS:
        print(f"modelyard: no command '{arguments[0]}'\n\n{_usage()}", file=sys.stderr)
        sys.exit(2)
    target, extra, _ = COMMANDS[arguments[0]]
    module, _, function = target.partition(":")
    try:
        command = getattr(import_module(module), function)
    except ModuleNotFoundError as cause:
        print(
            f"modelyard {arguments[0]}: module '{cause.name}' is not installed; pip install 'modelyard[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(1)
    try:
        command(arguments[1:])
    except (ModelyardError, OSError) as cause:  # OSError: disk full, no permission, port in use; it names the file
        print(f"modelyard {arguments[0]}: {cause}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {help_}" for name, (_, _, help_) in COMMANDS.items())
    return f"usage: modelyard COMMAND [arguments]   (modelyard COMMAND --help says more)\n\n{lines}"


if __name__ == "__main__":
    main()
