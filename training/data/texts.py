"""Texts held in memory, with labels: what every reader of texts gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.errors import DataError


@dataclass(frozen=True)
class Texts:
    """Texts from one file, given out as UTF-8."""

    texts: Sequence[str]
    targets: Sequence[int]
    path: Path
    lines: Sequence[int]
    """Where each text begins in the file, counted from 1."""

    def __len__(self) -> int:
        return len(self.texts)

    def raw(self, index: int) -> bytes:
        """The text in UTF-8."""
        return self.texts[index].encode()

    def media_type(self, index: int) -> str:
        """Always plain text."""
        return "text/plain"

    def target(self, index: int) -> int:
        """Index of the label."""
        return self.targets[index]

    def name(self, index: int) -> str:
        """File and line."""
        return f"{self.path}, line {self.lines[index]}"

    def stratum(self, index: int) -> int:
        """Index of the label."""
        return self.target(index)


def read_tab_separated(path: Path, text: int, label: int, num_columns: int, header: bool) -> Texts:
    """Read a public set: UTF-8, a tab between columns, no quoting; labels are 0, 1, ...

    `text` and `label` are column numbers from 0.

    Raises:
        DataError: a line has other columns or a label that is no number; the message names it.
    """
    rows: list[tuple[int, str, int]] = []
    # By line feeds alone: `splitlines` would also split at marks that occur inside texts.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line or (header and number == 1):
            continue
        columns = line.removesuffix("\r").split("\t")
        if len(columns) != num_columns or not columns[label].isdigit():
            raise DataError(
                f"{path}, line {number}: expected {num_columns} columns with a label of digits in column {label + 1}, "
                f"found {columns}"
            )
        rows.append((number, columns[text], int(columns[label])))
    lines, texts, targets = zip(*rows, strict=True)
    return Texts(texts, targets, path, lines)
