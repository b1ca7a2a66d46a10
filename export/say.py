"""Words for the person who waits for a command; standard output is for scripts. Knows a stream."""

import sys


def say(text: str) -> None:
    """Tell them now."""
    print(text, file=sys.stderr, flush=True)
