"""Text classification while training: baselines count what is written, errors can be read."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import RunError
from bundle.preprocess import Limits, TextSource, TextTokens
from bundle.preprocess.prepared import Prepared
from bundle.tasks.classification import LabelScore
from bundle.tasks.text_classification import TextClassification
from training.config import Augment
from training.data.prepared import PreparedSplit
from training.data.texts import Texts
from training.tasks.text_classification import ERRORS_FILE, NUM_ERRORS, TextClassificationTraining

LABELS = ("부정", "긍정")
TASK = TextClassificationTraining(LABELS, TextTokens(vocab_size=10, max_tokens=16))


def texts(written: Sequence[str], targets: Sequence[int]) -> Texts:
    return Texts(written, targets, Path("x.csv"), range(2, len(written) + 2))


def split(num: int, offset: int) -> PreparedSplit:
    written = [f"{'좋은' if i % 2 else '나쁜'} 영화 {i + offset}" for i in range(num)]
    row = TASK.preprocess.row([4, 5])  # type: ignore[union-attr]

    def prepare(raw: bytes, limits: Limits) -> Prepared:
        return Prepared(row, TextSource(2, truncated=False))

    return PreparedSplit(texts(written, [i % 2 for i in range(num)]), prepare, TASK.prepare_target)


def test_baselines_count_words_and_letters() -> None:
    figures = TASK.baseline(split(60, 0), split(30, 100))
    assert figures == {"commonest_label": 0.5, "tfidf_words": 1.0, "tfidf_characters": 1.0}


def answer(label: str, score: float) -> TextClassification:
    return TextClassification(label, score, (LabelScore(label, score),), 2, truncated=False)


def test_the_most_confident_errors_come_first_and_are_written_as_they_were_read(tmp_path: Path) -> None:
    written = ["맞음", 'he said, "no"', "=1+1 😀", "또 맞음"]
    answers = [answer("부정", 0.9), answer("긍정", 0.6), answer("긍정", 0.8), answer("긍정", 0.7)]
    TASK.draw(tmp_path, texts(written, [0, 0, 0, 1]), answers)
    with (tmp_path / ERRORS_FILE).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["score", "answer", "truth", "text", "where"],
        ["0.8000", "긍정", "부정", "=1+1 😀", "x.csv, line 4"],
        ["0.6000", "긍정", "부정", 'he said, "no"', "x.csv, line 3"],
    ]
    assert (tmp_path / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_only_so_many_errors_are_written(tmp_path: Path) -> None:
    num = NUM_ERRORS + 20
    TASK.draw(tmp_path, texts(["글"] * num, [0] * num), [answer("긍정", 0.9)] * num)
    assert len((tmp_path / ERRORS_FILE).read_text(encoding="utf-8-sig").splitlines()) == NUM_ERRORS + 1


def test_changes_for_pictures_are_refused() -> None:
    assert TASK.augment(Augment()) is None
    with pytest.raises(RunError, match="augment is for pictures"):
        TASK.augment(Augment(flip=True))
