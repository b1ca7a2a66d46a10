"""English film reviews, by words: a CNN beside votes of words and pairs."""

from bundle.preprocess import TextTokens
from training.architectures.text_cnn import TextCnnConfig
from training.config import Optim, TrainConfig
from training.data.sst2 import Sst2
from training.tokenizer import Tokenizer


def sst2_cnn() -> TrainConfig:
    """Sentences of film reviews in English, negative or positive; under a minute on two cores."""
    return TrainConfig(
        name="sst2_cnn",
        task="text-classification",
        data=Sst2(),
        tokenizer=Tokenizer(algorithm="words", lowercase=True, min_frequency=1),
        preprocess=TextTokens(vocab_size=14_000, max_tokens=64),
        model=TextCnnConfig(embedding=64, channels=64, widths=(2, 3, 4), ngrams=1, buckets=2**16),
        optim=Optim(lr=1e-3),
        batch_size=50,
        num_epochs=6,
        published={"TF-IDF of words and pairs + logistic regression, same split": 0.811},
    )
