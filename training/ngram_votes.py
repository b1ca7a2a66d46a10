"""A linear model over n-grams of tokens, hashed to the rows of one table: naive Bayes weights, logistic regression.

The features are those of NB-SVM (Wang and Manning 2012): an n-gram counts as much as it tells labels apart, and the
features of a text have length 1. Fitted at once, outside the training loop: gradient steps of one size for all make too
much of rare n-grams (Adam: .840 on NSMC's validation split; fitted like this: .852).
Knows token ids. Knows nothing of tokenizers or of the loop.
"""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from bundle.tensors import Array

HASH_FACTOR = 1_000_003  # a prime; products of it with values below HASH_RANGE stay far inside int64
HASH_RANGE = 2**31 - 1
MIN_COUNT = 2  # an n-gram seen once tells of its own text alone
SMOOTHING = 1.0
INVERSE_REGULARISATION = 8.0  # scikit-learn's C, for features of length 1
MAX_ITERATIONS = 200
MAX_TEXTS = 100_000  # more take minutes, and change the weights of frequent n-grams little


class NgramVotes(nn.Module):
    """Token ids -> logits, float [batch, num_outputs]; zero until it is fitted."""

    def __init__(self, longest: int, num_rows: int, num_outputs: int) -> None:
        super().__init__()
        self._longest, self._num_rows = longest, num_rows
        self.votes: torch.Tensor
        self.bias: torch.Tensor
        # A column an output, and one for the squared weight of the n-gram itself, which makes the length of a text.
        self.register_buffer("votes", torch.zeros(num_rows, num_outputs + 1))
        self.register_buffer("bias", torch.zeros(num_outputs))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """int64 [batch, tokens] each."""
        keys, counted = self._ngrams(input_ids, attention_mask)
        sums = (functional.embedding(keys % self._num_rows, self.votes) * counted[:, :, None]).sum(dim=1)
        return sums[:, :-1] / sums[:, -1:].sqrt().clamp_min(1.0) + self.bias

    def fit(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, targets: torch.Tensor) -> None:
        """Learn the votes from training texts; the same texts give the same votes."""
        chosen = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))[:MAX_TEXTS].sort().values
        keys, counted = self._ngrams(input_ids[chosen], attention_mask[chosen])
        texts = torch.arange(len(keys))[:, None].expand_as(keys)[counted > 0].numpy()
        ngrams, labels = keys[counted > 0].numpy(), targets[chosen].numpy()
        columns = ngrams % self._num_rows
        known = _seen_often(ngrams)
        weights = self._weights(columns[known], labels[texts[known]])
        squares = np.bincount(texts, weights[columns] ** 2, minlength=len(labels))
        values = weights[columns] / np.sqrt(np.maximum(squares, 1.0))[texts]
        features = csr_matrix((values, (texts, columns)), shape=(len(labels), self._num_rows))
        used = np.flatnonzero(weights)
        model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=MAX_ITERATIONS).fit(features[:, used], labels)
        self._keep(model, used, weights)

    def _weights(self, rows: Array, labels: Array) -> Array:
        """How far apart each row's n-grams keep the labels: the largest log-likelihood ratio of one to all."""
        num_outputs = len(self.bias)
        seen = np.bincount(rows * num_outputs + labels, minlength=self._num_rows * num_outputs)
        seen = seen.reshape(-1, num_outputs).astype(np.float64)
        likelihood = np.log((seen + SMOOTHING) / (seen + SMOOTHING).sum(axis=0))
        ratio: Array = np.abs(likelihood - likelihood.mean(axis=1, keepdims=True)).max(axis=1)
        ratio[~seen.any(axis=1)] = 0
        return ratio

    def _keep(self, model: LogisticRegression, used: Array, weights: Array) -> None:
        """Two labels have one row of coefficients, for the second; a label that was never seen has none."""
        coefficients, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2:
            coefficients, bias = np.vstack([-coefficients, coefficients]) / 2, np.stack([-bias[0], bias[0]]) / 2
        votes = np.zeros(self.votes.shape)
        votes[used[:, None], model.classes_] = (coefficients * weights[used]).T
        votes[:, -1] = weights**2
        self.votes.copy_(torch.from_numpy(votes))
        self.bias[torch.from_numpy(model.classes_)] = torch.from_numpy(bias).float()

    def _ngrams(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The n-grams that begin at each token, shortest first: a number each, and 1.0 where all tokens are real."""
        found, counted, keys = [], [], input_ids
        for length in range(1, self._longest + 1):
            if length > 1:
                keys = (keys * HASH_FACTOR + _later(input_ids, length - 1)) % HASH_RANGE
            found.append(keys + length)  # a single token is not numbered like a pair with a zero
            counted.append(_later(attention_mask, length - 1))
        return torch.cat(found, dim=1), torch.cat(counted, dim=1).float()


def _seen_often(ngrams: Array) -> Array:
    """Which of the n-grams occur at least MIN_COUNT times."""
    _, index, counts = np.unique(ngrams, return_inverse=True, return_counts=True)
    often: Array = counts[index] >= MIN_COUNT
    return often


def _later(tokens: torch.Tensor, steps: int) -> torch.Tensor:
    """[batch, tokens] moved to the left by some steps, zeros following."""
    return functional.pad(tokens, (0, steps))[:, steps:]
