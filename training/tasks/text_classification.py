"""Text classification while training: baselines that count words and letters, and the worst errors to read."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import nn

from bundle.errors import RunError
from bundle.tasks import Decode
from bundle.tasks.classification import Classification
from training.config import Augment
from training.data.prepared import PreparedSplit
from training.data.samples import Samples
from training.graph import Graph, Inputs
from training.tasks.classification import ClassificationTraining

NUM_ERRORS = 100
ERRORS_FILE = "most_confident_errors.csv"
BASELINES = {
    "tfidf_words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "tfidf_characters": {"analyzer": "char", "ngram_range": (1, 4)},
}
"""What is counted: words and pairs of them suit English; letters suit Korean, whose words take many endings."""
REGULARISATION = 4.0  # scikit-learn's C: weaker than its default of 1, which is too strong for rows of length 1


@runtime_checkable
class Completed(Protocol):
    """A network that has more to learn after its best epoch."""

    def complete(
        self, train: Inputs, train_targets: torch.Tensor, validation: Inputs, validation_targets: torch.Tensor
    ) -> None:
        """Learn from both splits; each comes as inputs and targets."""
        ...


class TextClassificationTraining(ClassificationTraining):
    """One label a text; targets are label indices."""

    def augment(self, config: Augment) -> nn.Module | None:
        """None: what is changed at random in a picture has no counterpart in a text.

        Raises:
            RunError: such a change is asked for.
        """
        if config != Augment():
            raise RunError(f"augment is for pictures; for texts leave it out (given: {config.model_dump_json()})")
        return None

    def finish(self, graph: Graph, train: PreparedSplit, validation: PreparedSplit) -> Decode:
        """The labels; and the parts of the network that no gradient reaches, where it has such."""
        if isinstance(graph.network, Completed):
            targets, validation_targets = (self.stack_targets(split.targets) for split in (train, validation))
            graph.network.complete(train.inputs, targets, validation.inputs, validation_targets)
        return super().finish(graph, train, validation)

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """Always the commonest label; logistic regression on TF-IDF of words, and of letters."""
        targets = np.array(test.targets)
        commonest = np.bincount(train.targets).argmax()
        figures = {"commonest_label": float(np.mean(targets == commonest))}
        train_texts, test_texts = _texts(train.samples), _texts(test.samples)
        for name, counted in BASELINES.items():
            vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=1 if len(train) < 1000 else 2, **counted)
            model = LogisticRegression(C=REGULARISATION, max_iter=1000)
            model.fit(vectorizer.fit_transform(train_texts), train.targets)
            figures[name] = float(model.score(vectorizer.transform(test_texts), targets))
        return figures

    def draw(self, folder: Path, samples: Samples, answers: Sequence[Classification]) -> None:
        """confusion_matrix.png of the test split, and most_confident_errors.csv to read."""
        super().draw(folder, samples, answers)
        wrong = [i for i, answer in enumerate(answers) if answer.label != self.labels[samples.target(i)]]
        wrong.sort(key=lambda i: -answers[i].score)
        # With a byte order mark, or spreadsheets take Korean for Latin.
        with (folder / ERRORS_FILE).open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["score", "answer", "truth", "text", "where"])
            for i in wrong[:NUM_ERRORS]:
                answer, truth = answers[i], self.labels[samples.target(i)]
                row = [f"{answer.score:.4f}", answer.label, truth, samples.raw(i).decode(), samples.name(i)]
                writer.writerow(row)


def _texts(samples: Samples) -> list[str]:
    return [samples.raw(i).decode() for i in range(len(samples))]
