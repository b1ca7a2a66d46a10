"""The command line of keys: `modelyard key NAME`. Knows how a key is shown. Knows nothing of how it is checked."""

import sys
from typing import Annotated

import tyro

from serving.security.keys import make_key


def key_command(arguments: list[str]) -> None:
    """Make a key, shown once, and the line that a file of keys holds in its place."""
    name = tyro.cli(_name, prog="modelyard key", args=arguments)
    made = make_key(name)
    print(f"The key of '{name}', which is kept nowhere and cannot be shown again:", file=sys.stderr)
    print(made.key, flush=True)
    print("Its line for --api-keys-file (or --admin-keys-file, to let it change what is served):", file=sys.stderr)
    print(made.line, flush=True)


def _name(name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]) -> str:
    """Make an API key. Standard output gets two lines: the key, and its line for the file of keys.

    Args:
        name: Whose key it is, for logs; letters, digits, '_', '.' and '-'.
    """
    return name
