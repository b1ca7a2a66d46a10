"""The one way to look a thing up: a plain dictionary of key -> "module:attribute", imported on use.

Adding a line to a table is all it takes to add a thing, and grep finds it. Knows importing. Knows none of the tables.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from bundle.errors import ModelyardError


def entry(table: Mapping[str, str], key: str, what: str, error: type[ModelyardError]) -> Any:
    """What a key stands for; `what` names the kind of thing in the error.

    Raises:
        error: no such key; the message lists the known ones.
        ImportError: the module, or what it needs, is not installed.
    """
    if key not in table:
        raise error(f"{what} '{key}' is not known; known are {', '.join(table)}")
    module, _, attribute = table[key].partition(":")
    return getattr(import_module(module), attribute)
