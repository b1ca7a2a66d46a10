"""Texts of one's own: what is left out is told, what cannot be learned is refused."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from training.data import data_config
from training.data.samples import Samples, Splits
from training.data.text_file import TextFile


def rows(num: int, label: str, word: str = "text") -> list[tuple[str, str]]:
    return [(f"{word} {label} {i}", label) for i in range(num)]


def write(path: Path, pairs: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in pairs]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def load(folder: Path, pairs: list[tuple[str, str]], tested: list[tuple[str, str]] | None = None) -> Splits:
    test_file = None if tested is None else write(folder / "test.jsonl", tested)
    return TextFile(file=write(folder / "x.jsonl", pairs), text="text", label="label", test_file=test_file).load()


def texts(samples: Samples) -> list[str]:
    return [samples.raw(i).decode() for i in range(len(samples))]


def test_a_fifth_of_every_label_is_held_out_to_test_on(tmp_path: Path) -> None:
    splits = load(tmp_path, rows(50, "긍정") + rows(20, "부정"))
    assert splits.labels == ("긍정", "부정")
    targets = [splits.test.target(i) for i in range(len(splits.test))]
    assert (targets.count(0), targets.count(1)) == (10, 4)
    assert len(splits.train) == 56
    assert not set(texts(splits.train)) & set(texts(splits.test))


def test_the_same_file_is_split_the_same_way(tmp_path: Path) -> None:
    one, other = (load(tmp_path, rows(20, "a") + rows(20, "b")) for _ in range(2))
    assert one.sha256() == other.sha256()


def test_very_unbalanced_labels_are_both_tested(tmp_path: Path) -> None:
    splits = load(tmp_path, rows(500, "common") + rows(3, "rare"))
    assert {splits.test.target(i) for i in range(len(splits.test))} == {0, 1}
    assert {splits.train.target(i) for i in range(len(splits.train))} == {0, 1}


def test_a_sample_names_its_file_and_line_and_is_plain_text(tmp_path: Path) -> None:
    splits = load(tmp_path, rows(10, "a") + rows(10, "b"))
    assert splits.test.name(0).startswith(f"{tmp_path / 'x.jsonl'}, line ")
    assert splits.test.media_type(0) == "text/plain"


def test_rows_without_a_label_or_a_text_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = load(tmp_path, [*rows(10, "a"), ("no label", " "), *rows(10, "b"), (" ", "a"), ("nor here", "")])
    assert len(splits.train) + len(splits.test) == 20
    told = capsys.readouterr().err
    assert "2 rows without a label are left out (line 11, 23)" in told
    assert "1 rows without a text are left out (line 22)" in told


def test_a_text_that_comes_again_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = rows(10, "a") + rows(10, "b")
    splits = load(tmp_path, [*pairs, pairs[0], (pairs[1][0], "b")])
    assert len(splits.train) + len(splits.test) == 20
    told = capsys.readouterr().err
    assert "2 rows whose text came before are left out (line 21, 22)" in told
    assert "1 rows of these with another label are left out (line 22)" in told


def test_a_text_of_the_test_file_is_not_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = rows(10, "a") + rows(10, "b")
    splits = load(tmp_path, pairs, tested=[pairs[3], ("new", "b")])
    assert texts(splits.test) == [pairs[3][0], "new"]
    assert len(splits.train) == 19
    assert "1 rows whose text is in the test file are left out (line 4)" in capsys.readouterr().err


def test_labels_of_numbers_and_truth_values_are_names(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"t {i}", "label": i % 2 == 0}) for i in range(20)))
    assert TextFile(file=path, text="text", label="label").load().labels == ("false", "true")


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (rows(20, "a"), "all 20 texts have the label 'a'; at least 2 labels are needed"),
        (rows(3, "a") + rows(2, "b"), r"1 of 2 labels have fewer than 3 different texts: 'b' \(2\)"),
        (rows(3, "a") + rows(3, "b"), "6 different texts; at least 10 are needed"),
        ([(f"t {i}", f"own {i}") for i in range(50)], "50 of 50 labels have fewer than 3 .* name another label column"),
        ([("", "a"), ("b", "")], "none of 2 rows has both"),
    ],
    ids=["one label", "five samples", "six samples", "a label each", "nothing whole"],
)
def test_what_cannot_be_learned_is_refused(pairs: list[tuple[str, str]], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as refusal:
        load(tmp_path, pairs)
    assert "x.jsonl" in str(refusal.value)


def test_columns_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", rows(10, "a"))
    with pytest.raises(DataError, match="no row has 'review'; there are 'label', 'text'"):
        TextFile(file=path, text="review", label="label").load()


def test_a_label_that_only_the_test_file_has_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.jsonl, line 2: the label 'c' is not in the training file; it has a, b"):
        load(tmp_path, rows(10, "a") + rows(10, "b"), tested=[("new", "a"), ("newer", "c")])


def test_a_text_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n{"text": ["a"], "label": "b"}')
    with pytest.raises(DataError, match="line 2: 'text' is a JSON list; expected a text"):
        TextFile(file=path, text="text", label="label").load()


def test_the_configuration_survives_json(tmp_path: Path) -> None:
    config = TextFile(file=tmp_path / "x.csv", text="review", label="stars", test_share=0.3)
    assert data_config(config.model_dump(mode="json")) == config
