"""A tokenizer made by hand, in a millisecond: known words, known ids."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from bundle.preprocess import TextTokens

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film", "좋은", "영화", "😀")
VOCABULARY = {word: i for i, word in enumerate(WORDS)}
WORDS_SPEC = TextTokens(vocab_size=len(WORDS), max_tokens=32, pad_to_multiple=8)


def word_tokenizer() -> Tokenizer:
    """Lower-case words between white space; what is not known is [UNK]."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token=WORDS[1]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def framed_tokenizer() -> Tokenizer:
    """The same between [CLS] and [SEP]."""
    tokenizer = word_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def character_tokenizer() -> Tokenizer:
    """A token a code point, nearly all unknown: texts of any script have as many tokens as characters."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token=WORDS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return tokenizer


def write_tokenizer(folder: Path, tokenizer: Tokenizer | None = None) -> Path:
    """Put tokenizer.json into a folder; the word tokenizer where none is given."""
    path = folder / "tokenizer.json"
    (tokenizer or word_tokenizer()).save(str(path))
    return path
