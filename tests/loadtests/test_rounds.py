"""Contestants take turns, and are compared within a round."""

from dataclasses import dataclass

from loadtests.rounds import Rounds, over


@dataclass(frozen=True)
class Figures:
    per_second: float
    wrong: int = 0


def test_everybody_is_asked_once_a_round_in_order() -> None:
    asked: list[str] = []

    def ask(name: str) -> Figures:
        asked.append(name)
        return Figures(1.0)

    Rounds({"a": lambda: ask("a"), "b": lambda: ask("b")}, 3)
    assert asked == ["a", "b"] * 3


def test_the_median_counts_and_faults_are_added_up() -> None:
    values = iter([Figures(10, wrong=1), Figures(500), Figures(20, wrong=2)])
    assert Rounds({"a": lambda: next(values)}, 3).of("a") == Figures(20, wrong=3)


def test_a_machine_that_is_slow_for_one_round_is_slow_for_both() -> None:
    mine, theirs = iter([100.0, 10.0, 120.0]), iter([50.0, 5.0, 40.0])
    seen = Rounds({"mine": lambda: Figures(next(mine)), "theirs": lambda: Figures(next(theirs))}, 3)
    assert seen.ratio("mine", "theirs") == 2.0
    assert over(1.0, 0.0) == float("inf")
    assert seen.best({"mine": None, "theirs": None}) == "mine"
