"""Noise of each kind: fits its specs, holds the extremes first, and is the same every time."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")

from bundle.golden import Golden
from bundle.preprocess import ImageResize, Preprocess, Series, TextTokens
from bundle.tasks.classification import Classification
from export.noise import FAR, noise

COUNT = 8
PICTURES = ImageResize(height_px=5, width_px=7)
BEATS = Series(num_steps=6)
TEXTS = TextTokens(vocab_size=30, max_tokens=300, pad_to_multiple=8, token_type_ids=True, pad_id=3)


def beats() -> list[Golden]:
    rng = np.random.default_rng(0)
    rows = [{"series": rng.normal(4, 2, 6).astype(np.float32)} for _ in range(20)]
    return [Golden(b"", "text/csv", row, {}, Classification("x", 1.0, ())) for row in rows]


@pytest.mark.parametrize("preprocess", [PICTURES, BEATS, TEXTS], ids=lambda spec: spec.kind)
def test_every_row_fits_its_specs_and_is_the_same_every_time(preprocess: Preprocess) -> None:
    rows = noise(preprocess, beats(), COUNT)
    again = noise(preprocess, beats(), COUNT)
    assert len(rows) == COUNT
    for row, same in zip(rows, again, strict=True):
        assert [*row] == [spec.name for spec in preprocess.input_specs()]
        assert [spec.mismatch(row[spec.name][None]) for spec in preprocess.input_specs()] == [None] * len(row)
        assert all(np.array_equal(row[name], same[name]) for name in row)
    drawn = [next(iter(row.values())).tobytes() for row in rows]
    assert len(set(drawn)) == COUNT


def test_pictures_are_black_white_and_noise_over_the_whole_range() -> None:
    black, white, *drawn = (row["image"] for row in noise(PICTURES, [], 20))
    assert (black.max(), white.min()) == (0, 255)
    values = np.concatenate([image.ravel() for image in drawn])
    assert values.min() < 10
    assert values.max() > 245


def test_series_are_zero_far_outliers_and_noise_as_wide_as_the_golden_ones() -> None:
    golden = beats()
    known = np.stack([sample.inputs["series"] for sample in golden])
    zero, far, *drawn = (row["series"] for row in noise(BEATS, golden, 200))
    assert not zero.any()
    np.testing.assert_allclose(far, known.mean() + FAR * known.std(), rtol=1e-5)
    assert np.mean(drawn) == pytest.approx(known.mean(), abs=0.3)
    assert np.std(drawn) == pytest.approx(known.std(), abs=0.3)


def test_texts_are_one_token_a_full_row_and_random_ids_of_several_lengths() -> None:
    shortest, longest, *drawn = noise(TEXTS, [], 20)
    assert (shortest["attention_mask"].sum(), shortest["input_ids"].shape) == (1, (8,))
    assert longest["attention_mask"].sum() == TEXTS.max_tokens
    assert len({row["input_ids"].shape for row in drawn}) > 1
    for row in drawn:
        ids, mask = row["input_ids"], row["attention_mask"]
        assert 0 <= ids.min() <= ids.max() < TEXTS.vocab_size
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)
        assert (ids[mask == 0] == TEXTS.pad_id).all()
        assert not row["token_type_ids"].any()
    seen = np.unique(np.concatenate([row["input_ids"][row["attention_mask"] == 1] for row in drawn]))
    assert seen.size > TEXTS.vocab_size / 2
