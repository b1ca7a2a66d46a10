"""`modelyard train text_classifier --data FILE --text COLUMN --label COLUMN`: a CSV, TSV or JSON-lines file."""

import statistics
from pathlib import Path

from bundle.preprocess import TextTokens
from training.architectures.text_cnn import TextCnnConfig
from training.config import Optim, TrainConfig
from training.data.samples import Samples
from training.data.text_file import TextFile
from training.own_data.defaults import batch_size, describe, is_unbalanced, num_epochs
from training.tokenizer import Tokenizer

STEPS = 3000
LONGEST_TOKENS = 512
VOCABULARY = (2_000, 16_000)
TEXTS_A_TOKEN = 2  # a token that fewer texts than this hold is learned from almost nothing


def text_classifier(
    data: Path, text: str, label: str, test: Path | None = None, name: str = "text_classifier"
) -> TrainConfig:
    """Classify texts: one row a text, with a column of texts and a column of labels.

    Args:
        data: .csv, .tsv or .jsonl file; UTF-8, UTF-16 or CP949
        text: name of the column that holds the texts
        label: name of the column that holds the labels
        test: file of the same form to test on; without one a fifth of the texts is held out
        name: name of the run, and later of the model
    """
    dataset = TextFile(file=data.resolve(), text=text, label=label, test_file=test.resolve() if test else None)
    splits = dataset.load()
    size = batch_size(len(splits.train), 64)
    unbalanced = is_unbalanced(splits.train)
    describe(splits, ["the labels are unbalanced: rare ones are drawn more often"] if unbalanced else [])
    return TrainConfig(
        name=name,
        task="text-classification",
        data=dataset,
        preprocess=TextTokens(vocab_size=_vocabulary(len(splits.train)), max_tokens=_max_tokens(splits.train)),
        tokenizer=Tokenizer(algorithm="bpe", lowercase=True, min_frequency=2),
        model=TextCnnConfig(ngrams=3),
        optim=Optim(lr=1e-3, weight_decay=0.01),
        batch_size=size,
        num_epochs=num_epochs(len(splits.train), size, STEPS),
        patience_epochs=6,
        balance_labels=unbalanced,
        validation_share=0.15,
    )


def _vocabulary(num_texts: int) -> int:
    low, high = VOCABULARY
    return max(low, min(high, num_texts // TEXTS_A_TOKEN))


def _max_tokens(samples: Samples) -> int:
    """Room for nineteen of twenty texts, a token for two characters: what is longer is cut, and the answer says so."""
    lengths = [len(samples.raw(i).decode("utf-8")) for i in range(len(samples))]
    usual = statistics.quantiles(lengths, n=20)[-1] if len(lengths) > 1 else lengths[0]
    return max(32, min(LONGEST_TOKENS, -(-int(usual) // 32) * 16))
