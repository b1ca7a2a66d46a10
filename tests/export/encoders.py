"""transformers folders for tests: tiny random encoders and a tokenizer of a few words, made here and not downloaded."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = "the a train film was good bad long short and it i you not very coast leaves at nine"
VOCABULARY = {
    word: i
    for i, word in enumerate(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split(), *"abcdefghij.,!?"]))
}
DIM = 32
NUM_POSITIONS = 80
SIZES = {
    "hidden_size": DIM,
    "dim": DIM,
    "embedding_size": 16,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "num_attention_heads": 4,
    "n_heads": 4,
    "intermediate_size": 64,
    "hidden_dim": 64,
    "max_position_embeddings": NUM_POSITIONS,
    "vocab_size": len(VOCABULARY),
    "pad_token_id": 0,
    "bos_token_id": 2,
    "cls_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
}
"""Under every name that one of the architectures has for them."""


def write_encoder(folder: Path, model_type: str = "bert", **config: Any) -> Path:
    """A folder that embeds."""
    return _write(folder, transformers.AutoModel, model_type, config)


def write_classifier(folder: Path, model_type: str = "bert", **config: Any) -> Path:
    """A folder that classifies; three labels where `config` does not say."""
    labels = {"id2label": {0: "bad", 1: "so so", 2: "good"}, "label2id": {"bad": 0, "so so": 1, "good": 2}}
    return _write(folder, transformers.AutoModelForSequenceClassification, model_type, labels | config)


def write_sentence_transformer(folder: Path, pooling: str = "mean_tokens", normalize: bool = True) -> Path:
    """An encoder with the files that sentence-transformers puts beside it."""
    write_encoder(folder)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": paths[kind], "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    modes = {"mean_tokens", "cls_token", "max_tokens", pooling}
    write_json(folder / "1_Pooling/config.json", {f"pooling_mode_{mode}": mode == pooling for mode in modes})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    return folder


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def change_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON object; None takes a key out."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {key: value for key, value in content.items() if value is not None})


def _write(folder: Path, loader: Any, model_type: str, changes: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **(SIZES | changes))
    transformers.utils.logging.disable_progress_bar()
    loader.from_config(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
