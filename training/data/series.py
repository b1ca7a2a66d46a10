"""Series held as an array, given out as the text that a client would send.

Knows numpy. Knows nothing of any one data set.
"""

from dataclasses import dataclass

from bundle.tensors import Array


@dataclass(frozen=True)
class SeriesRows:
    """float [n, steps] and int [n]: label 0 is normal."""

    values: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.values)

    def raw(self, index: int) -> bytes:
        """One line of CSV; the shortest text of each number."""
        return ",".join(map(repr, self.values[index].tolist())).encode()

    def media_type(self, index: int) -> str:
        """Always CSV."""
        return "text/csv"

    def target(self, index: int) -> int:
        """Index of the label."""
        return int(self.labels[index])

    def stratum(self, index: int) -> int:
        """Index of the label."""
        return int(self.labels[index])

    def name(self, index: int) -> str:
        """Its place in the array."""
        return f"series {index}"
