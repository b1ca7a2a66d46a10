"""Sentence embedding: a text becomes a vector; texts that mean alike have vectors that point alike.

Pooling and normalisation are in the graph. Knows vectors and how a text was cut. Knows nothing of tokenizers or of how
the vector was made.
"""

from bisect import bisect_left
from typing import ClassVar, Literal

import msgspec
import numpy as np
from pydantic import Field

from bundle.preprocess import Preprocess, Source, TextSource
from bundle.shares import Counts, count_one, shares, sums
from bundle.spec import Spec
from bundle.tensors import Array, Tensors, TensorSpec

TOKEN_BINS = (8, 16, 32, 64, 128, 256, 512)
"""Upper edges of `token_share`'s bins; the last bin holds all that is longer."""


class SentenceEmbeddingDecode(Spec):
    """What the vector is."""

    kind: Literal["sentence-embedding"] = "sentence-embedding"
    dim: int = Field(ge=1)
    """How many numbers a vector has."""
    normalised: bool
    """Whether every vector has length 1, so that the dot product of two is their cosine."""
    pooling: Literal["mean", "cls"]
    """What the graph makes one vector of: the mean of all tokens' vectors, or the first token's alone."""


class SentenceEmbeddingOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to choose."""


class SentenceEmbedding(msgspec.Struct, frozen=True):
    """One text's vector, with what was read of the text."""

    embedding: tuple[float, ...]
    num_tokens: int
    """Tokens that were read, special ones included."""
    truncated: bool
    """Whether the text was longer than what was read."""


class SentenceEmbeddingTask:
    """Vectors as they are. The graph gives `embedding`: float32 [batch, dim].

    Vectors are compared by `distance`, so every `atol` of this task is one.
    """

    decode_type: ClassVar[type] = SentenceEmbeddingDecode
    options_type = SentenceEmbeddingOptions
    result_type = SentenceEmbedding

    def __init__(self, parameters: SentenceEmbeddingDecode) -> None:
        self._dim = parameters.dim

    def output_specs(self, preprocess: Preprocess) -> tuple[TensorSpec, ...]:
        """`embedding`, one column a dimension."""
        return (TensorSpec(name="embedding", dtype="float32", shape=("batch", self._dim)),)

    def golden_options(self) -> SentenceEmbeddingOptions:
        """The whole answer, as always."""
        return SentenceEmbeddingOptions()

    def decode(self, outputs: Tensors, source: Source, options: SentenceEmbeddingOptions) -> SentenceEmbedding:
        """One row's vector."""
        assert isinstance(source, TextSource)  # noqa: S101 - the manifest ties the task to its preprocessing
        return SentenceEmbedding(tuple(outputs["embedding"].tolist()), source.num_tokens, source.truncated)

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        """The distance of two vectors."""
        return {"embedding": distance(expected["embedding"], got["embedding"])}

    def agree(self, expected: SentenceEmbedding, got: SentenceEmbedding, atol: float) -> str | None:
        """The same tokens were read, and the vectors are no further apart than `atol`."""
        if (expected.num_tokens, expected.truncated) != (got.num_tokens, got.truncated):
            return f"expected {_extent(expected)}, got {_extent(got)}: the text was split into other tokens"
        apart = distance(np.array(expected.embedding), np.array(got.embedding))
        return None if apart <= atol else f"the vectors are {apart:.3g} apart (1 - cosine), the limit is {atol:g}"

    def summarise(self, results: list[SentenceEmbedding]) -> dict[str, list[float]]:
        """`token_share`: texts by their number of tokens, in bins up to 8, 16, 32 ... 512 and over.

        `truncated_share`: texts that were read whole, and those that were cut.
        """
        return shares(sums(map(self.count, results)))

    def count(self, result: SentenceEmbedding) -> Counts:
        """How many tokens were read, and whether that was all. Of the vector itself nothing is counted."""
        return {
            "token_share": count_one(bisect_left(TOKEN_BINS, result.num_tokens), len(TOKEN_BINS) + 1),
            "truncated_share": count_one(int(result.truncated), 2),
        }


def distance(expected: Array, got: Array) -> float:
    """Half the squared distance of two vectors, over the squared length of the expected one; infinite where unlike.

    For vectors of length 1 this is 1 - cosine. Of others it also sees a length that is off.
    """
    if expected.shape != got.shape:
        return float("inf")
    wide, other = expected.astype(np.float64), got.astype(np.float64)
    gap, length = float(np.sum((wide - other) ** 2)), float(np.sum(wide**2))
    if gap == 0.0:
        return 0.0
    apart = gap / (2 * length) if length > 0 else float("inf")
    return apart if np.isfinite(apart) else float("inf")


def _extent(answer: SentenceEmbedding) -> str:
    return f"{answer.num_tokens} tokens{', truncated' if answer.truncated else ''}"
