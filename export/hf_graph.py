"""transformers' models as graphs of ours: token rows in, the task's output tensor out; pooling and softmax inside.

Knows torch. Knows nothing of folders or of the transformers library.
"""

from collections.abc import Callable

import torch
from torch import nn

from bundle.tensors import Compute, Tensors
from export.hf_folder import Pooling

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Hidden states [batch, tokens, dim] and mask [batch, tokens] -> vectors [batch, dim]."""


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def _first(hidden: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0]


POOLS: dict[Pooling, Pool] = {"mean": _mean, "cls": _first}


class SentenceEncoder(nn.Module):
    """Tokens -> one vector a text, of length 1 where the folder says so."""

    def __init__(self, model: nn.Module, input_names: tuple[str, ...], pooling: Pooling, normalised: bool) -> None:
        super().__init__()
        self.model = model
        self._input_names = input_names
        self._pool = POOLS[pooling]
        self._finish: Callable[..., torch.Tensor] = nn.functional.normalize if normalised else nn.Identity()

    def forward(self, *tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, tokens] each -> float [batch, dim]."""
        named = dict(zip(self._input_names, tokens, strict=True))
        hidden = self.model(**named).last_hidden_state
        return self._finish(self._pool(hidden, named["attention_mask"]))


class TextClassifier(nn.Module):
    """Tokens -> scores that sum to 1."""

    def __init__(self, model: nn.Module, input_names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self._input_names = input_names

    def forward(self, *tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, tokens] each -> float [batch, labels]."""
        return self.model(**dict(zip(self._input_names, tokens, strict=True))).logits.softmax(1)


def unpadded(compute: Compute) -> Compute:
    """Answers to rows without their padding: so whatever padding does to an artefact shows as a difference."""
    known: dict[bytes, Tensors] = {}  # the same rows are asked for targets, for golden samples and for the proof

    def key(row: Tensors) -> bytes:
        return b"".join(array.tobytes() for array in row.values())

    def without_padding(rows: list[Tensors]) -> list[Tensors]:
        short = [{name: array[: row["attention_mask"].sum()] for name, array in row.items()} for row in rows]
        new = {key(row): row for row in short if key(row) not in known}
        known.update(zip(new, compute(list(new.values())), strict=True))
        return [known[key(row)] for row in short]

    return without_padding
