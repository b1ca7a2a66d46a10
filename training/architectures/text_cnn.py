"""A convolutional network over tokens (Kim 2014), beside a linear model over n-grams of them: deep and wide.

Deep: embeddings, convolutions of several widths, the maximum over the text. It generalises. Wide: n-grams by heart
(ngram_votes.py), as in wide and deep learning (Cheng et al. 2016). The loop trains the deep part; `complete` then fits
the wide part and weighs the two on the validation split, which makes the scores honest as well.
Padding changes nothing: masked tokens are zero before a convolution and after it, and cast no votes.
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn
from torch.nn import functional

from bundle.preprocess import TextTokens
from training.architectures.architecture import ArchitectureConfig
from training.ngram_votes import NgramVotes

Inputs = tuple[torch.Tensor, ...]

MAX_VOTES = 2**22  # 16 MB of the bundle
PART_SIZE = 512  # texts at once
PRIOR_SAMPLES = 10.0  # both weights begin at 1, held there by as many samples: a few texts must not move them far


class TextCnnConfig(ArchitectureConfig):
    """Sizes of both parts."""

    architecture: Literal["text_cnn"] = "text_cnn"
    tasks: ClassVar[tuple[str, ...]] = ("text-classification",)
    embedding: PositiveInt = 128
    channels: PositiveInt = 128
    """Of each width."""
    widths: tuple[PositiveInt, ...] = Field(default=(2, 3, 4), min_length=1)
    """Tokens that a convolution sees."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Of what the convolutions found."""
    embedding_dropout: float = Field(default=0.3, ge=0, lt=1)
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of tokens that are blanked."""
    ngrams: int = Field(default=0, ge=0, le=12)
    """Longest n-gram that votes; 0 leaves the wide part out."""
    buckets: PositiveInt = 2**19
    """Rows that n-grams are hashed to; fewer where there are many labels."""

    def build(self, preprocess: TextTokens, num_outputs: int) -> nn.Module:
        """int64 input_ids and attention_mask [batch, tokens] -> logits [batch, num_outputs]."""
        deep = Convolutions(self, preprocess.vocab_size, num_outputs)
        if not self.ngrams:
            return deep
        num_rows = min(self.buckets, MAX_VOTES // (num_outputs + 1))
        return WideAndDeep(deep, NgramVotes(self.ngrams, num_rows, num_outputs))

    @classmethod
    def tiny(cls) -> Self:
        """Two widths of eight channels, and pairs that vote; nothing is dropped, so that every channel learns."""
        return cls(embedding=8, channels=8, widths=(2, 3), dropout=0.0, embedding_dropout=0.0, ngrams=2, buckets=64)


class Convolutions(nn.Module):
    """Any number of tokens."""

    def __init__(self, config: TextCnnConfig, vocab_size: int, num_outputs: int) -> None:
        super().__init__()
        self._config = config
        self.embedding = nn.Embedding(vocab_size, config.embedding)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding, config.channels, width) for width in config.widths
        )
        features = config.channels * len(config.widths)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(features, num_outputs))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """int64 [batch, tokens] each -> logits [batch, num_outputs]."""
        mask = attention_mask.float()
        embedded = functional.dropout(self.embedding(input_ids), self._config.embedding_dropout, self.training)
        kept = functional.dropout(mask, self._config.token_dropout, self.training)
        batch_NCT = (embedded * kept[:, :, None]).transpose(1, 2)
        found = []
        for width, convolution in zip(self._config.widths, self.convolutions, strict=True):
            padded_NCT = functional.pad(batch_NCT, ((width - 1) // 2, width // 2))
            # What is masked is 0, the least that a rectifier gives: it is never the maximum.
            found.append((convolution(padded_NCT).relu() * mask[:, None, :]).amax(dim=2))
        return self.head(torch.cat(found, dim=1))


class WideAndDeep(nn.Module):
    """The weighted sum of both parts' logits; the deep part alone until it is completed."""

    def __init__(self, deep: nn.Module, wide: NgramVotes) -> None:
        super().__init__()
        self.deep, self.wide = deep, wide
        self.weights: torch.Tensor
        self.register_buffer("weights", torch.tensor([1.0, 0.0]))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """int64 [batch, tokens] each -> logits [batch, num_outputs]."""
        logits = self.deep(input_ids, attention_mask) * self.weights[0]
        return logits if self.training else logits + self.wide(input_ids, attention_mask) * self.weights[1]

    def complete(
        self,
        train: Inputs,
        train_targets: torch.Tensor,
        validation: Inputs,
        validation_targets: torch.Tensor,
    ) -> None:
        """After training: fit the wide part, then choose both weights for the least loss on the validation split."""
        self.eval()
        with torch.no_grad():
            self.wide.fit(train[0], train[1], train_targets)
            parts = torch.stack([_in_parts(part, validation) for part in (self.deep, self.wide)])
        self.weights.copy_(_weigh(parts, validation_targets))


def _in_parts(network: nn.Module, inputs: Inputs) -> torch.Tensor:
    parts = zip(*(tensor.split(PART_SIZE) for tensor in inputs), strict=True)
    return torch.cat([network(*part) for part in parts])


def _weigh(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """[parts, samples, outputs] -> a weight a part, as in stacking (Wolpert 1992)."""
    weights = torch.ones(len(logits), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        mixed = (logits * weights[:, None, None]).sum(dim=0)
        value = functional.cross_entropy(mixed, targets) + (weights - 1).square().sum() * PRIOR_SAMPLES / len(targets)
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach().clamp_min(0.0)
