"""Make a tokenizer from training texts: tokenizer.json, as serving loads it. The same texts give the same file.

Special tokens come first: [PAD] is 0, [UNK] is 1, and where a network wants a frame, [CLS] is 2 and [SEP] is 3.
Knows the `tokenizers` library. Knows nothing of networks; the size of the vocabulary is the preprocessing's.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import tokenizers
from pydantic import Field
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers

from bundle.errors import RunError
from bundle.preprocess import TextTokens
from bundle.spec import Spec
from training.data.samples import Samples

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
ALPHABET_SHARE = 0.5  # of the vocabulary at most: Korean text alone has 2,000 different syllables, some seen once


class Tokenizer(Spec):
    """How training texts become a vocabulary."""

    algorithm: Literal["words", "characters", "bpe"] = "bpe"
    """words: split at white space and punctuation. characters: code points after normalisation (of Korean: syllables,
    or jamo in NFD). bpe: pairs joined by frequency (Sennrich et al. 2016). The library's unigram and wordpiece trainers
    give another file in every process, so a run with them could not be repeated."""
    lowercase: bool = False
    normalization: Literal["NFC", "NFD", "NFKC", "NFKD"] = "NFKC"
    """Unicode normalisation form; NFKC makes one of full-width and half-width letters."""
    min_frequency: int = Field(default=2, ge=1)
    """What occurs less often in the training texts becomes unknown (words, characters) or is not joined (bpe)."""
    spaces: bool = True
    """Whether white space counts; without it, texts that are spaced as one likes read the same (characters only)."""
    framed: bool = False
    """Put every text between [CLS] and [SEP], as BERT does."""


def train_tokenizer(config: Tokenizer, preprocess: TextTokens, samples: Samples, folder: Path) -> None:
    """Write the file that `preprocess` names into `folder`; `samples` are the training texts alone, UTF-8.

    Raises:
        RunError: the padding id is not [PAD]'s, or no tokenizer of the wanted size can be made.
    """
    if preprocess.pad_id != 0:
        raise RunError(f"preprocess.pad_id is {preprocess.pad_id}; a tokenizer made here has {PAD} at 0")
    tokenizer, trainer = ALGORITHMS[config.algorithm](config, preprocess.vocab_size)
    tokenizer.normalizer = _normalizer(config)
    try:
        tokenizer.train_from_iterator(_texts(samples), trainer=trainer, length=len(samples))
    except Exception as cause:  # noqa: BLE001 - what the library raises has no type of its own
        raise RunError(f"no {config.algorithm} tokenizer can be made of {len(samples)} texts: {cause}") from None
    if config.framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=[(name, tokenizer.token_to_id(name)) for name in (START, END)]
        )
    size = tokenizer.get_vocab_size()
    if size > preprocess.vocab_size:
        raise RunError(
            f"the {config.algorithm} tokenizer needs {size} tokens; preprocess.vocab_size is {preprocess.vocab_size}"
        )
    tokenizer.save(str(folder / preprocess.tokenizer))


def _texts(samples: Samples) -> Iterator[str]:
    return (samples.raw(i).decode("utf-8") for i in range(len(samples)))


def _normalizer(config: Tokenizer) -> Any:
    steps = [getattr(normalizers, config.normalization)()]
    if config.lowercase:
        steps.append(normalizers.Lowercase())
    if not config.spaces:
        steps.append(normalizers.Replace(Regex(r"\s+"), ""))
    return normalizers.Sequence(steps)


def _special(config: Tokenizer) -> list[str]:
    return [PAD, UNKNOWN, START, END] if config.framed else [PAD, UNKNOWN]


def _settings(config: Tokenizer, vocab_size: int) -> dict[str, Any]:
    return {"vocab_size": vocab_size, "special_tokens": _special(config), "show_progress": False}


def _words(config: Tokenizer, vocab_size: int) -> tuple[tokenizers.Tokenizer, Any]:
    tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordLevelTrainer(min_frequency=config.min_frequency, **_settings(config, vocab_size))


def _characters(config: Tokenizer, vocab_size: int) -> tuple[tokenizers.Tokenizer, Any]:
    """Words whose words are single characters; a blank is a character too, and stands before every word."""
    tokenizer, trainer = _words(config, vocab_size)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")]
    )
    return tokenizer, trainer


def _bpe(config: Tokenizer, vocab_size: int) -> tuple[tokenizers.Tokenizer, Any]:
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, trainers.BpeTrainer(
        min_frequency=config.min_frequency,
        limit_alphabet=int(vocab_size * ALPHABET_SHARE),
        **_settings(config, vocab_size),
    )


ALGORITHMS: dict[str, Callable[[Tokenizer, int], tuple[tokenizers.Tokenizer, Any]]] = {
    "words": _words,
    "characters": _characters,
    "bpe": _bpe,
}
