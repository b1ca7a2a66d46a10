"""What data call themselves, as a person may read it: cut short, and nothing in it that moves a terminal's cursor.

Knows texts. Knows nothing of where they come from.
"""


def brief(names: list[str]) -> str:
    """The first of them, and how many more."""
    shown = ", ".join(repr(name[:60]) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def printable(text: str) -> str:
    """For a terminal: what data call themselves may hold what moves its cursor, or is no UTF-8."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text)
