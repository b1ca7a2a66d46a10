"""Classification: scores over labels, whatever the input was (a picture, a text, a row).

Knows labels and score tensors. Knows nothing of how the scores were made.
"""

from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from pydantic import Field

from bundle.preprocess import Preprocess, Source
from bundle.shares import Counts, count_one, count_scores, shares, sums
from bundle.spec import Spec
from bundle.tensors import Tensors, TensorSpec, max_abs_error

TOP_K_HELP = "how many of the best labels to list; clipped to the number of labels"
MAX_GOLDEN_LABELS = 100  # enough to see a rank change; a thousand-class golden file stays readable


class ClassificationDecode(Spec):
    """What the scores mean: label i belongs to `scores[i]`."""

    kind: Literal["classification"] = "classification"
    labels: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=2)
    default_top_k: int = Field(default=5, ge=1)


class ClassificationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller may choose for one request."""

    top_k: Annotated[int, msgspec.Meta(ge=1, description=TOP_K_HELP)] | None = None


class LabelScore(msgspec.Struct, frozen=True):
    """One label and its score, 0 to 1."""

    label: str
    score: float


class Classification(msgspec.Struct, frozen=True):
    """The best label, its score, and the best labels in falling order."""

    label: str
    score: float
    top_k: tuple[LabelScore, ...]


class ClassificationTask:
    """Scores -> labels. The graph gives `scores`: float32 [batch, number of labels], each row summing to 1."""

    decode_type: ClassVar[type] = ClassificationDecode
    options_type = ClassificationOptions
    result_type = Classification

    def __init__(self, parameters: ClassificationDecode) -> None:
        self._labels = parameters.labels
        self._default_top_k = parameters.default_top_k

    def output_specs(self, preprocess: Preprocess) -> tuple[TensorSpec, ...]:
        """`scores`, one column a label."""
        return (TensorSpec(name="scores", dtype="float32", shape=("batch", len(self._labels))),)

    def golden_options(self) -> ClassificationOptions:
        """All labels, up to a hundred."""
        return ClassificationOptions(top_k=min(len(self._labels), MAX_GOLDEN_LABELS))

    def decode(self, outputs: Tensors, source: Source, options: ClassificationOptions) -> Classification:
        """The best labels of one row of scores; equal scores keep the order of the labels."""
        scores = outputs["scores"]
        k = min(options.top_k or self._default_top_k, len(self._labels))
        order = np.argsort(-scores, kind="stable")[:k].tolist()
        top_k = tuple(LabelScore(self._labels[i], float(scores[i])) for i in order)
        return Classification(top_k[0].label, top_k[0].score, top_k)

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        """Largest error of a score."""
        return {"scores": max_abs_error(expected["scores"], got["scores"])}

    def agree(self, expected: Classification, got: Classification, atol: float) -> str | None:
        """Same best label, unless the expected scores of both lie within what two errors of `atol` can swap.

        Where the expected answer lists every label, a label that it does not know is a difference at any rank.
        """
        scores = {entry.label: entry.score for entry in expected.top_k}
        strangers = [entry.label for entry in got.top_k if entry.label not in scores]
        if strangers and len(expected.top_k) == len(self._labels):
            return f"the label '{strangers[0]}' was not among the labels when the answer was recorded"
        if got.label == expected.label:
            return None
        if got.label in scores and expected.score - scores[got.label] <= 2 * atol:
            return None
        return (
            f"expected '{expected.label}' ({expected.score:.4f}), got '{got.label}' ({got.score:.4f}; "
            f"it had {scores.get(got.label, 0.0):.4f}), and an error of {atol:g} cannot swap them"
        )

    def summarise(self, results: list[Classification]) -> dict[str, list[float]]:
        """`label_share` in the order of the labels, and `score_histogram` of the best score in ten equal bins."""
        return shares(sums(map(self.count, results)))

    def count(self, result: Classification) -> Counts:
        """Its label and its score."""
        label_share = count_one(self._labels.index(result.label), len(self._labels))
        return {"label_share": label_share, "score_histogram": count_scores([result.score])}
