"""The page holds what the file says: nothing is left out, and what must be said of a figure is said."""

from pathlib import Path

import pytest

from bundle.errors import RunError
from loadtests.capacity.figures import write_capacity
from loadtests.capacity.page import NONE_YET, TABLES, fill
from tests.loadtests.capacity.figures import STEPS, capacity, model, step

PAGE = Path(__file__).parents[3] / "docs/capacity.md"
MARKED = "before\n<!-- table: {} -->\nold\n<!-- end -->\nafter\n"


def filled(name: str, tmp_path: Path, **more: object) -> str:
    file = tmp_path / "capacity.json"
    write_capacity(file, capacity().model_copy(update=more))
    text = fill(MARKED.format(name), file)
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert fill(text, file) == text
    return text


def test_a_row_says_the_rate_within_the_limit_and_what_stands_beside_it(tmp_path: Path) -> None:
    text = filled("measured", tmp_path, models=(model(), model("slow", limit_ms=20.0)))
    row = "| `picture` (int8): image/jpeg, 50000 bytes | 11 | 60 | 60 | 0.60 | 14 / 40 | 25 / 160 | 1.0 | 100 | 0.91 |"
    assert row in text
    assert "| 20 | none | - |" in text


def test_a_rate_that_is_the_load_generators_is_told_as_such(tmp_path: Path) -> None:
    text = filled("measured", tmp_path, models=(model(steps=STEPS[:3]),))
    assert ">= 60 (Locust) | - |" in text


def test_a_machine_that_changed_meanwhile_is_told(tmp_path: Path) -> None:
    text = filled("measured", tmp_path, models=(model(saturated_again_per_second=60.0),))
    assert "100 (**unsteady**: 60 after the steps)" in text
    assert "unsteady" not in filled("measured", tmp_path, models=(model(saturated_again_per_second=90.0),))


def test_a_busy_machine_is_told(tmp_path: Path) -> None:
    assert "busy" not in filled("machine", tmp_path, load=0.2)
    assert "**The machine was busy** (load 9.3 on 2 processors" in filled("machine", tmp_path, load=9.3)


def test_measured_and_simulated_stand_side_by_side(tmp_path: Path) -> None:
    one = step(30, 11, 25, simulated_p50_ms=10.5, simulated_p99_ms=24.0, simulated_shed=0.0)
    over = step(120, 400, 500, shed=100, simulated_p50_ms=390.0, simulated_p99_ms=450.0, simulated_shed=0.12)
    text = filled("compared", tmp_path, models=(model(steps=(over, one)),))
    assert "| `picture` | 0.30 | 11 / 10.5 | 25 / 24 | 0 / 0 | 0.20 |\n| `picture` | 1.20 | 400 / 390 |" in text
    assert "| 10 % / 12 % |" in text


def test_pods_by_formula_stand_beside_the_fewest_that_held(tmp_path: Path) -> None:
    assert "| steady | 6 / 5 (0.4 %) | - |" in filled("needs", tmp_path)
    assert "| 5 min | 30 s | **2 %**; 3 to 8 pods; in flight 0.9 |" in filled("growths", tmp_path)


def test_the_page_asks_for_every_table_and_for_no_other(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in TABLES if f"<!-- table: {name} -->" not in text] == []
    with pytest.raises(RunError, match="no table 'nothing'; there are machine"):
        fill(MARKED.format("nothing"), tmp_path / "none.json")
    assert NONE_YET in fill(MARKED.format("measured"), tmp_path / "none.json")
