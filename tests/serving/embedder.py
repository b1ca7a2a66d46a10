"""A model that embeds texts, for tests of its endpoints: the fake runtime behind a tokenizer of a few words."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

from bundle.preprocess import TextTokens
from bundle.tasks.sentence_embedding import SentenceEmbeddingDecode
from tests.builders import write_fake_task_bundle

DIM = 4
MAX_TOKENS = 8
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "film": 4}
GOLDEN = ("good film", "bad film", "안녕 🙂 film")


def write_fake_embedder(repository: Path, name: str = "embedder", **changes: Any) -> Path:
    """Publish it; `changes` replace fields of the manifest."""
    return write_fake_task_bundle(
        repository,
        name,
        "sentence-embedding",
        TextTokens(vocab_size=len(VOCABULARY), max_tokens=MAX_TOKENS, pad_to_multiple=4),
        SentenceEmbeddingDecode(dim=DIM, normalised=False, pooling="mean"),
        [("text/plain", text.encode()) for text in GOLDEN],
        {"tokenizer.json": tokenizer_json()},
        **changes,
    )


def tokenizer_json() -> bytes:
    """Words between blanks."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return tokenizer.to_str().encode()
