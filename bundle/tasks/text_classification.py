"""Text classification: classification, and an answer that says how much of the text it is about.

Knows labels, score tensors and how a text was cut. Knows nothing of tokenizers or of how the scores were made.
"""

import msgspec

from bundle.preprocess import Source, TextSource
from bundle.tasks.classification import Classification, ClassificationOptions, ClassificationTask
from bundle.tensors import Tensors


class TextClassification(Classification, frozen=True):
    """The best label, its score, and the best labels in falling order; with what was read of the text."""

    num_tokens: int
    """Tokens that were read, special ones included."""
    truncated: bool
    """Whether the text was longer than what was read."""


class TextClassificationTask(ClassificationTask):
    """Scores -> labels. The graph gives `scores`: float32 [batch, number of labels], each row summing to 1."""

    result_type: type[Classification] = TextClassification

    def decode(self, outputs: Tensors, source: Source, options: ClassificationOptions) -> TextClassification:
        """The best labels of one row of scores; equal scores keep the order of the labels."""
        assert isinstance(source, TextSource)  # noqa: S101 - the manifest ties the task to its preprocessing
        answer = super().decode(outputs, source, options)
        return TextClassification(
            **msgspec.structs.asdict(answer), num_tokens=source.num_tokens, truncated=source.truncated
        )

    def agree(self, expected: Classification, got: Classification, atol: float) -> str | None:
        """As classification does; and as much of the text was read."""
        assert isinstance(expected, TextClassification)  # noqa: S101 - answers of this task, as `decode` makes them
        assert isinstance(got, TextClassification)  # noqa: S101
        if (expected.num_tokens, expected.truncated) != (got.num_tokens, got.truncated):
            return f"expected {_extent(expected)}, got {_extent(got)}: the text was split into other tokens"
        return super().agree(expected, got, atol)


def _extent(answer: TextClassification) -> str:
    return f"{answer.num_tokens} tokens{', truncated' if answer.truncated else ''}"
