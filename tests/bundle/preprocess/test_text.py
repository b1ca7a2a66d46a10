"""Texts become token ids: any text is answered or refused with its cause, and nothing else happens to it."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, models

from bundle.errors import BadInput, BundleError, InputTooLarge
from bundle.preprocess import Limits, TextSource, TextTokens, load_preprocess
from bundle.preprocess.prepared import Prepared
from bundle.preprocess.text import load_tokenizer, prepare_text
from tests.bundle.preprocess.texts import (
    WORDS,
    WORDS_SPEC,
    character_tokenizer,
    framed_tokenizer,
    word_tokenizer,
    write_tokenizer,
)

LAW = settings(derandomize=True, deadline=None, max_examples=300)
KOREAN = "좋은 영화"
MAX_LONG_TEXT_S = 1.0  # takes 0.03 s; bounded loosely, for machines that do other things besides
PAD, UNKNOWN, GOOD, FILM = (WORDS.index(word) for word in ("[PAD]", "[UNK]", "good", "film"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def words(folder: Path) -> Tokenizer:
    return load_tokenizer(WORDS_SPEC, folder)


def read(text: str, tokenizer: Tokenizer, spec: TextTokens = WORDS_SPEC) -> Prepared:
    return prepare_text(spec, tokenizer, text.encode(), Limits())


def loaded(tokenizer: Tokenizer, folder: Path, **changes: Any) -> tuple[TextTokens, Tokenizer]:
    write_tokenizer(folder, tokenizer)
    spec = WORDS_SPEC.model_copy(update=changes)
    return spec, load_tokenizer(spec, folder)


def test_words_become_ids_padded_to_the_next_multiple(words: Tokenizer) -> None:
    got = read("Good film", words)
    assert got.tensors["input_ids"].tolist() == [GOOD, FILM] + [PAD] * 6
    assert got.tensors["attention_mask"].tolist() == [1, 1] + [0] * 6
    assert got.source == TextSource(num_tokens=2, truncated=False)
    assert all(array.dtype == np.int64 for array in got.tensors.values())


@pytest.mark.parametrize(("num_words", "length"), [(1, 8), (8, 8), (9, 16), (25, 32), (32, 32), (33, 32)])
def test_rows_of_like_length_are_of_one_shape(words: Tokenizer, num_words: int, length: int) -> None:
    assert read("film " * num_words, words).tensors["input_ids"].shape == (length,)


def test_the_longest_row_is_no_longer_than_allowed_where_that_is_no_multiple(tmp_path: Path) -> None:
    spec, tokenizer = loaded(word_tokenizer(), tmp_path, max_tokens=13)
    assert read("film " * 20, tokenizer, spec).tensors["input_ids"].tolist() == [FILM] * 13


def test_a_longer_text_is_cut_and_says_so(words: Tokenizer) -> None:
    assert read("film " * 32, words).source == TextSource(32, truncated=False)
    assert read("film " * 33, words).source == TextSource(32, truncated=True)


def test_special_tokens_are_kept_when_a_text_is_cut(tmp_path: Path) -> None:
    spec, tokenizer = loaded(framed_tokenizer(), tmp_path, max_tokens=8)
    assert read("film " * 50, tokenizer, spec).tensors["input_ids"].tolist() == [2] + [FILM] * 6 + [3]


def test_characters_over_the_limit_are_not_looked_at_and_that_is_said(tmp_path: Path) -> None:
    spec, tokenizer = loaded(word_tokenizer(), tmp_path, max_chars=9)
    assert read("good film", tokenizer, spec).source == TextSource(2, truncated=False)
    assert read("good film a", tokenizer, spec).source == TextSource(2, truncated=True)


def test_token_types_are_given_where_they_are_asked_for(folder: Path) -> None:
    spec = WORDS_SPEC.model_copy(update={"token_type_ids": True})
    got = read("good film", load_tokenizer(spec, folder), spec)
    assert list(got.tensors) == [entry.name for entry in spec.input_specs()]
    assert got.tensors["token_type_ids"].tolist() == [0] * 8


def test_another_padding_id_is_padded_with(folder: Path) -> None:
    spec = WORDS_SPEC.model_copy(update={"pad_id": UNKNOWN})
    got = read("good", load_tokenizer(spec, folder), spec)
    assert got.tensors["input_ids"].tolist() == [GOOD] + [UNKNOWN] * 7


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (KOREAN, 2),
        ("좋은 영화", 2),
        ("😀", 1),
        ("good\0film", 0),
        ("\0", 0),
        ("éé", 0),
        ("\ufeffgood", 1),
        ("‏ good", 1),
    ],
)
def test_any_script_is_read(words: Tokenizer, text: str, known: int) -> None:
    """Korean composed and in jamo, emoji, zero characters, a byte order mark, a mark for writing to the left."""
    ids = read(text, words).tensors["input_ids"]
    assert int((ids > UNKNOWN).sum()) == known


def test_a_text_without_a_known_token_is_read(words: Tokenizer) -> None:
    assert read("xyzzy", words).tensors["input_ids"].tolist() == [UNKNOWN] + [PAD] * 7


def test_a_text_that_gives_no_token_at_all_is_a_row_of_padding(tmp_path: Path) -> None:
    spec, tokenizer = loaded(Tokenizer(models.BPE(vocab={"a": 4, "[PAD]": 0}, merges=[])), tmp_path)
    got = read("zzz", tokenizer, spec)
    assert got.source.num_tokens == 0  # type: ignore[union-attr]
    assert got.tensors["attention_mask"].tolist() == [0] * 8


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u3000", "\ufeff"])
def test_an_empty_text_is_refused(words: Tokenizer, text: str) -> None:
    with pytest.raises(BadInput, match="the text is empty"):
        read(text, words)


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        (b"ok\xff", 2),
        ("좋은".encode()[:4], 3),
        ("좋은 영화".encode("cp949"), 0),
        (b"ab\xed\xa0\x80", 2),
        (b"a\xc0\x80", 1),
    ],
)
def test_what_is_not_utf_8_is_refused_with_the_byte(words: Tokenizer, raw: bytes, at: int) -> None:
    """Also a lone surrogate and a zero character of two bytes, which some writers take for UTF-8."""
    with pytest.raises(BadInput, match=rf"not UTF-8: .* at byte {at} \(0x{raw[at]:02x}\) of {len(raw)}"):
        prepare_text(WORDS_SPEC, words, raw, Limits())


def test_a_text_over_the_limit_is_refused(words: Tokenizer) -> None:
    with pytest.raises(InputTooLarge, match="the text has 11 bytes; at most 10 are read"):
        prepare_text(WORDS_SPEC, words, b"x" * 11, Limits(max_bytes=10))


@pytest.mark.parametrize(
    "text",
    ["film " * 20_000, "x" * 100_000, "x" * (16 * 2**20), "영" * (16 * 2**20 // 3), " " * (16 * 2**20 - 1) + "x"],
    ids=["100,000 characters", "one long word", "16 MB", "16 MB of Korean", "16 MB of blanks"],
)
def test_a_very_long_text_is_read_quickly(words: Tokenizer, text: str) -> None:
    start = time.perf_counter()
    got = read(text, words)
    assert time.perf_counter() - start < MAX_LONG_TEXT_S
    assert got.source.truncated  # type: ignore[union-attr]


@given(st.text(st.characters(), min_size=1, max_size=100))
@LAW
def test_any_text_is_answered_or_refused(text: str) -> None:
    try:
        raw = text.encode()
    except UnicodeEncodeError:  # a lone surrogate is no text that bytes can carry
        raw = text.encode(errors="surrogatepass")
    tokenizer = character_tokenizer()
    tokenizer.enable_truncation(WORDS_SPEC.max_tokens)
    try:
        got = prepare_text(WORDS_SPEC, tokenizer, raw, Limits())
    except BadInput:
        assert not text.strip() or text.startswith("\ufeff") or any("\ud800" <= letter <= "\udfff" for letter in text)
        return
    ids, mask = got.tensors["input_ids"], got.tensors["attention_mask"]
    assert 0 <= ids.min() <= ids.max() < WORDS_SPEC.vocab_size
    assert got.source == TextSource(int(mask.sum()), truncated=len(text.removeprefix("\ufeff")) > WORDS_SPEC.max_tokens)
    assert len(ids) % WORDS_SPEC.pad_to_multiple == 0
    assert not ids[mask == 0].any()


@given(st.binary(max_size=60))
@LAW
def test_any_bytes_are_answered_or_refused(raw: bytes) -> None:
    tokenizer = word_tokenizer()
    try:
        prepare_text(WORDS_SPEC, tokenizer, raw, Limits())
    except BadInput:
        return


def test_preparing_twice_and_in_many_threads_gives_the_same(folder: Path) -> None:
    prepare = load_preprocess(WORDS_SPEC, folder)
    texts = [f"{KOREAN} good " * n for n in range(1, 40)]
    expected = [prepare(text.encode(), Limits()).tensors["input_ids"].tolist() for text in texts]
    got: dict[int, list[list[int]]] = {}

    def work(thread: int) -> None:
        got[thread] = [prepare(text.encode(), Limits()).tensors["input_ids"].tolist() for text in texts]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(got[i] == expected for i in range(8))


def test_a_file_that_pads_and_cuts_by_itself_is_not_obeyed(tmp_path: Path) -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=100)
    spec, tokenizer = loaded(tokenizer, tmp_path)
    assert read("a good film", tokenizer, spec).source == TextSource(3, truncated=False)


def broken(**changes: Any) -> str:
    """The framed tokenizer's file with parts replaced."""
    return json.dumps(json.loads(framed_tokenizer().to_str()) | changes)


TEMPLATE = json.loads(framed_tokenizer().to_str())["post_processor"]
DAMAGED = {
    "empty": "",
    "cut": framed_tokenizer().to_str()[:300],
    "no JSON": "tokenizer",
    "another document": "{}",
    "no model": broken(model=None),
    "no vocabulary": broken(model={"type": "WordLevel", "vocab": None, "unk_token": "[UNK]"}),
    "no unknown token": broken(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}),
    "a frame of tokens that are not there": broken(post_processor=TEMPLATE | {"special_tokens": {}}),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_tokenizer_is_refused_with_its_file(what: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(DAMAGED[what], encoding="utf-8")
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a tokenizer that can be used"):
        load_tokenizer(WORDS_SPEC, tmp_path)


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: the tokenizer cannot be read"):
        load_preprocess(WORDS_SPEC, tmp_path)


def test_a_tokenizer_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b"\x80\x05pickle\xff")
    with pytest.raises(BundleError, match="cannot be read"):
        load_tokenizer(WORDS_SPEC, tmp_path)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(folder: Path) -> None:
    spec = WORDS_SPEC.model_copy(update={"vocab_size": 10})
    with pytest.raises(BundleError, match="gives token id 10; the model holds ids 0 to 9"):
        load_tokenizer(spec, folder)


def test_an_id_that_only_the_frame_gives_is_held_to_the_model_too(tmp_path: Path) -> None:
    special = {"[CLS]": {"id": "[CLS]", "ids": [99], "tokens": ["[CLS]"]}}
    damaged = broken(post_processor=TEMPLATE | {"special_tokens": TEMPLATE["special_tokens"] | special})
    (tmp_path / "tokenizer.json").write_text(damaged, encoding="utf-8")
    with pytest.raises(BundleError, match="gives token id 99"):
        load_tokenizer(WORDS_SPEC, tmp_path)


def test_special_tokens_that_fill_every_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="2 special tokens leave no room in 2 tokens"):
        loaded(framed_tokenizer(), tmp_path, max_tokens=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer": "../tokenizer.json"},
        {"tokenizer": "/etc/passwd"},
        {"tokenizer": ".hidden"},
        {"tokenizer": ""},
        {"vocab_size": 0},
        {"max_tokens": 0},
        {"pad_id": 11},
        {"pad_to_multiple": 0},
        {"max_chars": 0},
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TextTokens.model_validate(WORDS_SPEC.model_dump() | changes)


def test_the_spec_names_its_file_and_its_dynamic_axes() -> None:
    assert WORDS_SPEC.assets() == ("tokenizer.json",)
    assert [str(entry) for entry in WORDS_SPEC.input_specs()] == [
        "input_ids: int64 ['batch', 'tokens']",
        "attention_mask: int64 ['batch', 'tokens']",
    ]
