"""A convolutional network over tokens, beside a linear model over n-grams of them: deep and wide.

Deep: embeddings, convolutions of several widths, the maximum over the text (Kim 2014). Wide: every n-gram is hashed to
a row of a table that holds its votes for the outputs, as in fastText (Joulin et al. 2016) and in wide and deep learning
(Cheng et al. 2016); rare phrases that a convolution cannot afford to learn are known by heart there.
Padding changes nothing: masked tokens are zero before a convolution and after it, and cast no votes.
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import nn
from torch.nn import functional

from bundle.preprocess import TextTokens
from training.architectures.architecture import ArchitectureConfig

HASH_FACTOR = 1_000_003  # a prime; products of it with values below HASH_RANGE stay far inside int64
HASH_RANGE = 2**31 - 1


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
    ngrams: int = Field(default=0, ge=0, le=8)
    """Longest n-gram that votes; 0 leaves the wide part out."""
    buckets: PositiveInt = 2**18
    """Rows that n-grams of each length are hashed to."""
    vote_scale: float = Field(default=4.0, gt=0)
    """Votes are multiplied by this: an n-gram that is seen seldom has to learn in larger steps than a convolution."""
    vote_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of n-grams that do not vote."""

    def build(self, preprocess: TextTokens, num_outputs: int) -> nn.Module:
        """int64 input_ids and attention_mask [batch, tokens] -> logits [batch, num_outputs]."""
        return TextCnn(self, preprocess.vocab_size, num_outputs)

    @classmethod
    def tiny(cls) -> Self:
        """Two widths of four channels, and pairs that vote."""
        return cls(embedding=4, channels=4, widths=(2, 3), ngrams=2, buckets=64)


class TextCnn(nn.Module):
    """Any number of tokens."""

    def __init__(self, config: TextCnnConfig, vocab_size: int, num_outputs: int) -> None:
        super().__init__()
        self.deep = Convolutions(config, vocab_size)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(config.channels * len(config.widths), num_outputs)
        )
        lengths = range(1, config.ngrams + 1)
        self.votes = nn.ModuleList(Votes(config, length, vocab_size, num_outputs) for length in lengths)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """int64 [batch, tokens] each -> logits [batch, num_outputs]."""
        mask = attention_mask.float()
        logits = self.head(self.deep(input_ids, mask))
        for votes in self.votes:
            logits = logits + votes(input_ids, mask)
        return logits


class Convolutions(nn.Module):
    """Token ids -> the strongest answer of every filter over the text, float [batch, channels x widths]."""

    def __init__(self, config: TextCnnConfig, vocab_size: int) -> None:
        super().__init__()
        self._config = config
        self.embedding = nn.Embedding(vocab_size, config.embedding)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding, config.channels, width) for width in config.widths
        )

    def forward(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """int64 and float [batch, tokens]."""
        embedded = self.embedding(input_ids)
        embedded = functional.dropout(embedded, self._config.embedding_dropout, self.training)
        kept = functional.dropout(mask, self._config.token_dropout, self.training)
        batch_NCT = (embedded * kept[:, :, None]).transpose(1, 2)
        found = []
        for width, convolution in zip(self._config.widths, self.convolutions, strict=True):
            padded_NCT = functional.pad(batch_NCT, ((width - 1) // 2, width // 2))
            # What is masked is 0, the least that a rectifier gives: it is never the maximum.
            found.append((convolution(padded_NCT).relu() * mask[:, None, :]).amax(dim=2))
        return torch.cat(found, dim=1)


class Votes(nn.Module):
    """N-grams of one length -> the sum of their votes over the root of their number, float [batch, num_outputs]."""

    def __init__(self, config: TextCnnConfig, length: int, vocab_size: int, num_outputs: int) -> None:
        super().__init__()
        self._length, self._scale, self._dropout = length, config.vote_scale, config.vote_dropout
        self._num_rows = vocab_size if length == 1 else config.buckets
        self.table = nn.Embedding(self._num_rows, num_outputs)
        nn.init.zeros_(self.table.weight)

    def forward(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """int64 and float [batch, tokens]."""
        voters = _later(mask, self._length - 1)  # an n-gram counts where its last token does
        voters = functional.dropout(voters, self._dropout, self.training)
        votes = (self.table(self._rows(input_ids)) * voters[:, :, None]).sum(dim=1)
        return votes * self._scale / voters.sum(dim=1, keepdim=True).clamp_min(1).sqrt()

    def _rows(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The n-gram that begins at each token, as a row of the table."""
        rows = input_ids
        for step in range(1, self._length):
            rows = (rows * HASH_FACTOR + _later(input_ids, step)) % HASH_RANGE
        return rows % self._num_rows


def _later(tokens: torch.Tensor, steps: int) -> torch.Tensor:
    """[batch, tokens] moved to the left by some steps, zeros following."""
    return functional.pad(tokens, (0, steps))[:, steps:]
