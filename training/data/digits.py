"""Handwritten digits, 8x8 grey, bundled with scikit-learn: the data set that needs no download.

1,797 pictures of the UCI optical digits; scikit-learn gives no split, so a fifth is the test split, drawn once.
"""

from typing import Literal

import numpy as np
from sklearn.datasets import load_digits

from training.data.samples import ArrayImages, DataConfig, Splits, hold_out

MAX_VALUE = 16  # scikit-learn's pixel range is 0..16
TEST_SHARE = 0.2
TEST_SEED = 20260101  # fixed apart from the run's seed: another seed must not change what is tested


class Digits(DataConfig):
    """scikit-learn's digits."""

    dataset: Literal["digits"] = "digits"

    def load(self) -> Splits:
        """1,438 train and 359 test pictures; white strokes on black."""
        digits = load_digits()
        images = np.rint(digits.images * (255 / MAX_VALUE)).astype(np.uint8)
        train, test = hold_out(ArrayImages(images, digits.target), TEST_SHARE, TEST_SEED)
        return Splits(labels=tuple(str(name) for name in digits.target_names), train=train, test=test)
