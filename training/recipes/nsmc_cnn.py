"""Korean film reviews, by syllables: a CNN beside votes of n-grams."""

from bundle.preprocess import TextTokens
from training.architectures.text_cnn import TextCnnConfig
from training.config import Optim, TrainConfig
from training.data.nsmc import Nsmc
from training.tokenizer import Tokenizer


def nsmc_cnn() -> TrainConfig:
    """Film reviews in Korean, negative or positive; about three minutes on two cores."""
    return TrainConfig(
        name="nsmc_cnn",
        task="text-classification",
        data=Nsmc(),
        # Syllables: Korean words take too many endings to be counted whole, and reviews are spaced as one likes.
        tokenizer=Tokenizer(algorithm="characters", normalization="NFKC"),
        preprocess=TextTokens(vocab_size=2000, max_tokens=144),
        model=TextCnnConfig(
            embedding=64, channels=96, widths=(2, 3, 4, 5), embedding_dropout=0.2, ngrams=5, buckets=2**21
        ),
        optim=Optim(lr=3e-3),
        batch_size=128,
        num_epochs=6,
        validation_share=0.1,
        published={"TF-IDF of 1 to 4 letters + logistic regression, same split": 0.849},
    )
