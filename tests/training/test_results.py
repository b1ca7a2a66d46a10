"""Results files and the table made from them."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import RunError
from training.results import Results, read_results, table, write_results

RESULTS = Results(
    recipe="digits_cnn", task="image-classification", data="digits", split="test", metrics={"accuracy": 0.98765},
    baseline={"commonest_label": 0.1}, published={}, seconds=90.0, command="modelyard train digits_cnn", seed=0,
    commit="0123456789abcdef", machine="a machine, 2 cores",
)  # fmt: skip


def test_results_survive_the_file(tmp_path: Path) -> None:
    write_results(tmp_path / "results/digits_cnn.json", RESULTS)
    assert read_results(tmp_path / "results/digits_cnn.json") == RESULTS


def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"recipe": "x"}', encoding="utf-8")
    with pytest.raises(RunError, match=r"x\.json"):
        read_results(tmp_path / "x.json")


def test_the_table_shows_ours_the_baseline_and_where_it_ran(tmp_path: Path) -> None:
    write_results(tmp_path / "digits_cnn.json", RESULTS)
    text = table(tmp_path)
    row = next(line for line in text.splitlines() if "digits_cnn" in line)
    assert "accuracy 0.9877" in row
    assert "commonest label 0.1" in row
    assert "| 1.5 |" in row
    assert "0123456789" in row
    assert "a machine, 2 cores" in text
