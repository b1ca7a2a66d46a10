"""A transformers folder with a random encoder, for a load test's sentence embedding: it costs, and means nothing.

Knows transformers. Knows nothing of bundles.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from loadtests.questions import SENTENCE

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PAD, CLS, SEP = 0, 2, 3
NUM_POSITIONS = 80


def write_encoder(folder: Path) -> Path:
    """Four layers of 128, a word a token; the same weights every time."""
    torch.manual_seed(0)
    words = dict.fromkeys([*SPECIAL, *SENTENCE.split(), *"abcdefghijklmnopqrstuvwxyz.,!?"])
    vocabulary = {word: i for i, word in enumerate(words)}
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=NUM_POSITIONS,
        pad_token_id=PAD,
    )
    transformers.utils.logging.disable_progress_bar()
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    _tokenizer(vocabulary).save_pretrained(folder)
    return folder


def _tokenizer(vocabulary: dict[str, int]) -> Any:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",  # noqa: S106
        pad_token="[PAD]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
