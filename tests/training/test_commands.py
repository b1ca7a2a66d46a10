"""The command line of training: what it prints, what it overrides, what it refuses."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from modelyard import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    main(list(arguments))
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_recipes_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "recipes")
    assert "digits_cnn" in out
    assert "Handwritten digits" in out


def test_train_takes_typed_overrides_and_ends_with_the_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["--optim.lr", "3e-3", "--num-epochs", "1", "--model.channels", "4", "--name", "mine"]
    places = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    out, err = run(capsys, "train", "digits_cnn", *overrides, *places)
    folder = Path(out.splitlines()[-1])
    assert folder == tmp_path / "runs/mine"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["optim"]["lr"], config["model"]["channels"], config["num_epochs"]) == (3e-3, [4], 1)
    assert "test accuracy" in err
    assert not (tmp_path / "results").exists(), "only an unchanged recipe is a recipe's result"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "nope"], "known are digits_cnn"),
        (["train", "digits_cnn", "--data.dataset", "nope"], "invalid choice"),
        (["train", "digits_cnn", "--optim.lr", "-1"], "greater than 0"),
        (["train", "digits_cnn", "--optim.lrr", "1"], "--optim.lr"),
        (["train", "digits_cnn", "--batch-size", "0"], "modelyard train: batch_size: Input should be greater"),
        (["train", "digits_cnn", "--name", "a b"], "modelyard train: name: "),
        (["train", "digits_cnn", "--seed", str(2**32)], "modelyard train: seed: "),
        (["data", "fetch", "nope"], "known are fashion-mnist"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *(["--out", str(tmp_path)] if len(arguments) > 2 and arguments[0] == "train" else [])])
    printed = capsys.readouterr()
    assert stop.value.code in (1, 2)
    assert says in printed.err + printed.out


def test_public_data_sets_are_listed_with_their_licence(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "data", "list")
    assert "fashion-mnist" in out
    assert "licence: MIT" in out
    assert "MODELYARD_DATA" in out
