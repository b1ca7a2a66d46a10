"""Tokenizers made from training texts: the same texts give the same file, and it serves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import RunError
from bundle.preprocess import Limits, TextTokens, load_preprocess
from training.data.texts import Texts
from training.tokenizer import ALGORITHMS, Tokenizer, train_tokenizer

FULL_WIDTH = "\uff46\uff55\uff4c\uff4c"  # "full", as East Asian keyboards can write it
SENTENCES = ["좋은 영화 입니다", "정말 별로 였다", "A Good film!", "a bad, bad film", f"{FULL_WIDTH} 폭"] * 3
SPEC = TextTokens(vocab_size=200, max_tokens=32)


def samples(sentences: list[str] = SENTENCES) -> Texts:
    return Texts(sentences, [0] * len(sentences), Path("x"), range(1, len(sentences) + 1))


def vocabulary(folder: Path) -> dict[str, int]:
    vocab: dict[str, int] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return vocab


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_tokenizer_serves_what_it_was_made_of(algorithm: str, framed: bool, tmp_path: Path) -> None:
    config = Tokenizer.model_validate({"algorithm": algorithm, "framed": framed})
    train_tokenizer(config, SPEC, samples(), tmp_path)
    prepare = load_preprocess(SPEC, tmp_path)
    for sentence in SENTENCES:
        prepared = prepare(sentence.encode(), Limits())
        ids = prepared.tensors["input_ids"][prepared.tensors["attention_mask"] == 1]
        assert (ids != 1).all(), f"unknown tokens in {sentence!r}"
        assert (ids != 0).all()
        if framed:
            assert (ids[0], ids[-1]) == (2, 3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_special_tokens_come_first(algorithm: str, tmp_path: Path) -> None:
    train_tokenizer(Tokenizer.model_validate({"algorithm": algorithm, "framed": True}), SPEC, samples(), tmp_path)
    ids = vocabulary(tmp_path)
    assert [ids[name] for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")] == [0, 1, 2, 3]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_texts_give_the_same_file_in_another_process(algorithm: str, tmp_path: Path) -> None:
    """Rust seeds its hash tables anew in every process, which some of the library's trainers let through."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    program = (
        "import sys, pathlib, tests.training.test_tokenizer as made\n"
        "config = made.Tokenizer(algorithm=sys.argv[1])\n"
        "made.train_tokenizer(config, made.SPEC, made.samples(), pathlib.Path(sys.argv[2]))"
    )
    for folder in (here, there):
        subprocess.run([sys.executable, "-c", program, algorithm, str(folder)], check=True)
    assert (here / "tokenizer.json").read_bytes() == (there / "tokenizer.json").read_bytes()


def test_letters_are_made_alike_where_that_is_asked_for(tmp_path: Path) -> None:
    config = Tokenizer(algorithm="words", lowercase=True, normalization="NFKC", min_frequency=1)
    train_tokenizer(config, SPEC, samples(), tmp_path)
    assert {"good", "full", "!"} <= set(vocabulary(tmp_path))
    assert not {"Good", FULL_WIDTH} & set(vocabulary(tmp_path))


def test_of_korean_the_decomposed_form_gives_jamo(tmp_path: Path) -> None:
    config = Tokenizer(algorithm="characters", normalization="NFD", min_frequency=1)
    train_tokenizer(config, SPEC, samples(), tmp_path)
    assert "\u110c" in vocabulary(tmp_path)  # the first of the three letters of 좋
    assert "좋" not in vocabulary(tmp_path)


def test_what_is_seldom_is_unknown(tmp_path: Path) -> None:
    config = Tokenizer(algorithm="words", min_frequency=2)
    train_tokenizer(config, SPEC, samples(["a b a", "a c"]), tmp_path)
    assert set(vocabulary(tmp_path)) == {"[PAD]", "[UNK]", "a"}


def test_a_vocabulary_is_no_larger_than_the_model(tmp_path: Path) -> None:
    spec = TextTokens(vocab_size=12, max_tokens=32)
    for algorithm in ALGORITHMS:
        train_tokenizer(Tokenizer.model_validate({"algorithm": algorithm}), spec, samples(), tmp_path)
        assert len(vocabulary(tmp_path)) <= 12
        load_preprocess(spec, tmp_path)


def test_another_padding_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"pad_id is 5; a tokenizer made here has \[PAD\] at 0"):
        train_tokenizer(Tokenizer(), SPEC.model_copy(update={"pad_id": 5}), samples(), tmp_path)
