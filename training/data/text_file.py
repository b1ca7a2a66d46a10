"""Texts of one's own: a file with a column of texts and a column of labels (CSV, TSV, JSON Lines).

What cannot be learned from is left out and told: rows without a label or a text, and texts that come again. What would
make a figure meaningless is refused: one label only, a label with two texts, columns mixed up.
Knows tables of texts. Knows nothing of networks.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bundle.errors import DataError
from training.data.samples import DataConfig, Splits, hold_out
from training.data.table_file import Record, read_records
from training.data.texts import Texts

MIN_TEXTS_PER_LABEL = 3  # of two, one would be left to learn from
MIN_TEXTS = 10  # with fewer, no figure on a fifth of them says anything
TEST_SEED = 20260101  # fixed apart from the run's seed: another seed must not change what is tested
MAX_SHOWN = 5


@dataclass(frozen=True)
class Row:
    """One text with its label's name."""

    line: int
    text: str
    label: str


class TextFile(DataConfig):
    """One file, or two; labels are what stands in the label column, sorted."""

    dataset: Literal["text-file"] = "text-file"
    file: Path
    """.csv, .tsv or .jsonl; UTF-8 or UTF-16 with or without a byte order mark, or CP949."""
    text: str
    """Column of the texts."""
    label: str
    """Column of the labels."""
    test_file: Path | None = None
    """A file of the same form to test on; without one, `test_share` of the texts is held out."""
    test_share: float = Field(default=0.2, gt=0, lt=1)

    def load(self) -> Splits:
        """The same share of every label is held out; no text is in both train and test."""
        rows = _unrepeated(self.file, self._read(self.file))
        if self.test_file is None:
            labels = _labels(self.file, rows)
            train, test = hold_out(_texts(self.file, rows, labels), self.test_share, TEST_SEED)
            if not len(test):
                raise DataError(f"{self.file}: a test share of {self.test_share:g} of {len(rows)} texts is none")
            return Splits(labels=labels, train=train, test=test)
        test_rows = self._read(self.test_file)
        rows = _without(self.file, rows, {row.text for row in test_rows})
        labels = _labels(self.file, rows)
        _check_known(self.test_file, test_rows, labels)
        return Splits(
            labels=labels, train=_texts(self.file, rows, labels), test=_texts(self.test_file, test_rows, labels)
        )

    def _read(self, path: Path) -> list[Row]:
        records = read_records(path, (self.text, self.label))
        seen = {name for record in records for name in record.values}
        missing = [name for name in (self.text, self.label) if name not in seen]
        if missing:
            raise DataError(f"{path}: no row has '{missing[0]}'; there are {', '.join(map(repr, sorted(seen)))}")
        rows = [Row(one.line, *(_written(path, one, name) for name in (self.text, self.label))) for one in records]
        _tell(path, "without a label", [row.line for row in rows if not row.label])
        _tell(path, "without a text", [row.line for row in rows if row.label and not row.text])
        whole = [row for row in rows if row.label and row.text]
        if not whole:
            raise DataError(f"{path}: none of {len(rows)} rows has both a text and a label")
        return whole


def _written(path: Path, record: Record, name: str) -> str:
    """A value as text, white space around it taken off; nothing is an empty text."""
    value: Any = record.values.get(name)
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise DataError(f"{path}, line {record.line}: '{name}' is a JSON {type(value).__name__}; expected a text")
    return (str(value).lower() if isinstance(value, bool) else str(value)).strip()


def _unrepeated(path: Path, rows: list[Row]) -> list[Row]:
    """The first row of each text: one that came again could be learned by heart and then tested."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.text, row)
    repeated = [row for row in rows if first[row.text] is not row]
    _tell(path, "whose text came before", [row.line for row in repeated])
    _tell(path, "of these with another label", [row.line for row in repeated if first[row.text].label != row.label])
    return list(first.values())


def _without(path: Path, rows: list[Row], tested: set[str]) -> list[Row]:
    _tell(path, "whose text is in the test file", [row.line for row in rows if row.text in tested])
    return [row for row in rows if row.text not in tested]


def _labels(path: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    """The labels, sorted; refused where they cannot be learned."""
    counts = Counter(row.label for row in rows)
    if len(counts) < 2:
        only = next(iter(counts), "none")
        raise DataError(f"{path}: all {len(rows)} texts have the label '{only}'; at least 2 labels are needed")
    rare = sorted((label for label in counts if counts[label] < MIN_TEXTS_PER_LABEL), key=counts.__getitem__)
    if rare:
        shown = ", ".join(f"'{label[:40]}' ({counts[label]})" for label in rare[:MAX_SHOWN])
        raise DataError(
            f"{path}: {len(rare)} of {len(counts)} labels have fewer than {MIN_TEXTS_PER_LABEL} different texts: "
            f"{shown}{' ...' if len(rare) > MAX_SHOWN else ''}; add texts, join labels, or name another label column"
        )
    if len(rows) < MIN_TEXTS:
        raise DataError(f"{path}: {len(rows)} different texts; at least {MIN_TEXTS} are needed to learn and to test")
    return tuple(sorted(counts))


def _check_known(path: Path, rows: Sequence[Row], labels: tuple[str, ...]) -> None:
    strangers = [row for row in rows if row.label not in labels]
    if strangers:
        raise DataError(
            f"{path}, line {strangers[0].line}: the label '{strangers[0].label}' is not in the training file; "
            f"it has {', '.join(labels)}"
        )


def _texts(path: Path, rows: Sequence[Row], labels: tuple[str, ...]) -> Texts:
    index = {label: i for i, label in enumerate(labels)}
    return Texts(
        texts=[row.text for row in rows],
        targets=[index[row.label] for row in rows],
        path=path,
        lines=[row.line for row in rows],
    )


def _tell(path: Path, what: str, lines: list[int]) -> None:
    """Say on standard error what is left out."""
    if lines:
        shown = ", ".join(map(str, lines[:MAX_SHOWN])) + (" ..." if len(lines) > MAX_SHOWN else "")
        print(f"{path}: {len(lines)} rows {what} are left out (line {shown})", file=sys.stderr)
