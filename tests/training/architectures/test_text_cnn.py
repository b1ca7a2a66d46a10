"""The laws of networks over tokens: padding, neighbours and blanked tokens change no answer."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from bundle.preprocess import TextTokens  # noqa: E402
from training.architectures.text_cnn import Convolutions, TextCnnConfig, WideAndDeep  # noqa: E402
from training.ngram_votes import NgramVotes  # noqa: E402

LAW = settings(derandomize=True, deadline=None, max_examples=100)
VOCAB = 50
SPEC = TextTokens(vocab_size=VOCAB, max_tokens=64)
CONFIG = TextCnnConfig(embedding=8, channels=8, widths=(1, 2, 3, 4), ngrams=4, buckets=997)
ATOL = 1e-6  # another length sums in another order


def texts_by_label(num: int, seed: int = 0) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Random tokens; which of three pairs of neighbours is among them tells the label."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (num,), generator=generator)
    ids = torch.randint(10, VOCAB, (num, 12), generator=generator)
    ids[:, 5], ids[:, 6] = 2 + targets, 7
    ids[:, 8], ids[:, 9] = 7, 2 + (targets + 1) % 3  # every token is in every label; only pairs tell
    ids[:, 11] = 2 + (targets + 2) % 3
    return (ids, torch.ones_like(ids)), targets


def network(config: TextCnnConfig = CONFIG) -> WideAndDeep:
    """Completed, so that both parts have a say."""
    torch.manual_seed(0)
    made = config.build(SPEC, 3)
    assert isinstance(made, WideAndDeep)
    made.complete(*texts_by_label(200), *texts_by_label(100, seed=1))
    return made.eval()


NETWORK = network()


def batch(texts: list[list[int]], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([text + [0] * (length - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in texts])
    return ids, mask


def logits(texts: list[list[int]], length: int) -> torch.Tensor:
    with torch.inference_mode():
        return NETWORK(*batch(texts, length))


@given(st.lists(st.integers(0, VOCAB - 1), max_size=16), st.sampled_from([16, 32, 48]))
@LAW
def test_padding_changes_no_answer(text: list[int], length: int) -> None:
    assert torch.allclose(logits([text], 16), logits([text], length), atol=ATOL)


@given(st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=16), min_size=2, max_size=8))
@LAW
def test_a_row_is_the_same_alone_and_in_a_batch(texts: list[list[int]]) -> None:
    together = logits(texts, 16)
    for i, text in enumerate(texts):
        assert torch.allclose(logits([text], 16)[0], together[i], atol=ATOL)


@given(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=10), st.integers(0, VOCAB - 1))
@LAW
def test_what_lies_under_the_mask_is_not_read(text: list[int], junk: int) -> None:
    ids, mask = batch([text], 16)
    with torch.inference_mode():
        changed = NETWORK(torch.where(mask == 1, ids, junk), mask)
    assert torch.allclose(changed, logits([text], 16), atol=ATOL)


def test_a_text_without_tokens_gets_a_finite_answer() -> None:
    assert torch.isfinite(logits([[]], 16)).all()


def test_a_text_shorter_than_every_ngram_gets_a_finite_answer() -> None:
    assert torch.isfinite(logits([[7]], 1)).all()


def test_the_order_of_tokens_matters() -> None:
    assert not torch.allclose(logits([[5, 6, 7, 8]], 16), logits([[8, 7, 6, 5]], 16))


def test_the_wide_part_can_be_left_out() -> None:
    assert isinstance(CONFIG.model_copy(update={"ngrams": 0}).build(SPEC, 3), Convolutions)


def test_until_it_is_completed_the_deep_part_answers_alone() -> None:
    made = CONFIG.build(SPEC, 3).eval()
    assert isinstance(made, WideAndDeep)
    ids, mask = batch([[5, 6, 7]], 16)
    assert torch.equal(made(ids, mask), made.deep(ids, mask))


def test_completing_learns_what_pairs_of_tokens_tell() -> None:
    inputs, targets = texts_by_label(300, seed=2)
    assert (NETWORK(*inputs).argmax(dim=1) == targets).float().mean() > 0.95


def test_a_deep_part_that_knows_nothing_is_weighed_down() -> None:
    deep, wide = NETWORK.weights.tolist()
    assert 0 <= deep < wide


def test_completing_twice_gives_the_same_votes() -> None:
    assert torch.equal(network().wide.votes, NETWORK.wide.votes)
    assert torch.equal(network().weights, NETWORK.weights)


def test_a_few_validation_texts_do_not_move_the_weights_far() -> None:
    made = CONFIG.build(SPEC, 3)
    assert isinstance(made, WideAndDeep)
    made.complete(*texts_by_label(200), *texts_by_label(4, seed=1))
    assert made.weights.max() < 3


@pytest.mark.parametrize("num_outputs", [2, 3])
def test_a_label_without_training_texts_gets_no_votes(num_outputs: int) -> None:
    (ids, mask), targets = texts_by_label(100)
    votes = NgramVotes(2, 997, num_outputs + 1)
    votes.fit(ids, mask, targets % num_outputs)
    assert not votes.votes[:, num_outputs].any()
    assert torch.isfinite(votes(ids, mask)).all()


def test_two_labels_are_told_apart_symmetrically() -> None:
    (ids, mask), targets = texts_by_label(200)
    votes = NgramVotes(3, 997, 2)
    votes.fit(ids, mask, (targets == 0).long())
    logits = votes(ids, mask)
    assert torch.allclose(logits.sum(dim=1), torch.zeros(200), atol=1e-5)
    assert ((logits[:, 1] > 0) == (targets == 0)).float().mean() > 0.95


def test_many_labels_make_the_table_narrower_not_the_bundle_larger() -> None:
    made = TextCnnConfig(ngrams=2, buckets=2**22).build(SPEC, 999)
    assert isinstance(made, WideAndDeep)
    assert made.wide.votes.numel() <= 2**22


@pytest.mark.parametrize("length", [2, 3, 5])
def test_different_ngrams_mostly_get_different_rows(length: int) -> None:
    votes = NgramVotes(length, 2**19, 2)
    ids = torch.randint(2, 30_000, (1, 5000), generator=torch.Generator().manual_seed(0))
    keys, counted = votes._ngrams(ids, torch.ones_like(ids))
    rows = keys % 2**19
    longest = rows[0, -5000:][counted[0, -5000:] > 0]
    assert (rows >= 0).all()
    assert (rows < 2**19).all()
    assert len(longest.unique()) > 4900


def test_training_drops_and_serving_does_not() -> None:
    ids, mask = batch([[5, 6, 7]], 16)
    made = CONFIG.model_copy(update={"token_dropout": 0.5}).build(SPEC, 3).eval()
    assert torch.equal(made(ids, mask), made(ids, mask))
    made.train()
    assert not torch.equal(made(ids, mask), made(ids, mask))
