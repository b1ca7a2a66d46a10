"""Looking things up: imported on use, and the known keys are told where one is unknown."""

import pytest

from bundle.errors import RunError
from bundle.tables import entry

TABLE = {"root": "math:sqrt", "gone": "no_such_module:x"}


def test_an_entry_is_imported() -> None:
    assert entry(TABLE, "root", "function", RunError)(9.0) == 3.0


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RunError, match=r"function 'cube' is not known; known are root, gone"):
        entry(TABLE, "cube", "function", RunError)


def test_a_module_that_is_not_installed_says_so() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        entry(TABLE, "gone", "function", RunError)
