"""A run folder: what it holds, that it repeats, resumes to the same numbers, and refuses what does not fit."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch")

import safetensors.numpy
import torch

from bundle.errors import DataError, RunError
from tests.builders import png
from tests.training.tiny import tiny_config
from training.config import TrainConfig
from training.data.samples import train_and_validation
from training.run import train

TRAIN = [sys.executable, "-m", "training", "digits_cnn", "--results", "results"]
SMALL = ["--model.channels", "8", "16", "--num-epochs"]


def numbers(folder: Path) -> list[list[str]]:
    """metrics.csv without the seconds."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [row[:-1] for row in csv.reader(file)]


def weights(folder: Path) -> dict[str, bytes]:
    return {
        name: array.tobytes() for name, array in safetensors.numpy.load_file(folder / "weights.safetensors").items()
    }


def test_holds_everything_that_was_promised(tiny_run: Path) -> None:
    assert {path.name for path in tiny_run.iterdir()} == {
        "config.json", "metrics.csv", "curves.png", "confusion_matrix.png", "checkpoint.json", "weights.safetensors",
        "golden", "results.json", "checkpoints",
    }  # fmt: skip
    results = json.loads((tiny_run / "results.json").read_text(encoding="utf-8"))
    assert set(results) == {
        "recipe", "task", "data", "split", "metrics", "baseline", "published", "seconds", "command", "seed", "commit",
        "machine",
    }  # fmt: skip
    assert results["metrics"]["accuracy"] > results["baseline"]["commonest_label"] + 0.3
    checkpoint = json.loads((tiny_run / "checkpoint.json").read_text(encoding="utf-8"))
    assert len(checkpoint["data_sha256"]) == 64
    assert len(checkpoint["golden"]) == 16
    assert len(numbers(tiny_run)) == 1 + 3


def test_golden_samples_are_validation_pictures_of_every_label(tiny_run: Path) -> None:
    config = tiny_config()
    splits = config.data.load()
    _, validation = train_and_validation(splits, config.validation_share, config.seed)
    target_of = {validation.raw(i): validation.target(i) for i in range(len(validation))}
    seen = {target_of[path.read_bytes()] for path in (tiny_run / "golden").glob("*.png")}
    assert seen == set(range(len(splits.labels)))


def test_the_same_seed_gives_the_same_numbers_and_another_seed_does_not(tiny_run: Path, tmp_path: Path) -> None:
    again = train(tiny_config(), tmp_path / "again", "digits_cnn")
    other = train(tiny_config(seed=1), tmp_path / "other", "digits_cnn")
    assert numbers(again) == numbers(tiny_run)
    assert weights(again) == weights(tiny_run)
    assert weights(other) != weights(tiny_run)


def test_a_finished_run_is_left_as_it_is(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    train(tiny_config(), tiny_run.parent, "digits_cnn")
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before
    assert "is finished" in capsys.readouterr().err


def test_other_settings_in_the_same_folder_are_refused_and_named(tiny_run: Path) -> None:
    with pytest.raises(RunError, match=r"num_epochs was 3, is 4.*--name or --out"):
        train(tiny_config(num_epochs=4), tiny_run.parent, "digits_cnn")


def test_a_killed_run_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    command = [*TRAIN, *SMALL, "12"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([*command, "--out", str(straight)], cwd=tmp_path, env=environment, check=True, capture_output=True)
    process = subprocess.Popen([*command, "--out", str(killed)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    last = killed / "digits_cnn/checkpoints/last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "digits_cnn/results.json").exists()
    subprocess.run([*command, "--out", str(killed)], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert numbers(killed / "digits_cnn") == numbers(straight / "digits_cnn")
    assert weights(killed / "digits_cnn") == weights(straight / "digits_cnn")


def test_several_devices_train_together_and_one_concludes(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*TRAIN, *SMALL, "1", "--devices", "2"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "runs/digits_cnn"
    assert "MEMBER: 2/2" in done.stderr
    assert (tmp_path / "runs/digits_cnn/results.json").exists()


def resumable_epoch(folder: Path, name: str) -> int:
    return int(torch.load(folder / "checkpoints" / name, weights_only=True)["epoch"]) + 1


@pytest.fixture
def stopped_early(tmp_path: Path) -> Path:
    """A finished run whose first epoch was its best and that lost patience two epochs later."""
    still = tiny_config().optim.model_copy(update={"lr": 1e-12, "schedule": "constant"})
    return train(tiny_config(optim=still, num_epochs=50, patience_epochs=2), tmp_path, "digits_cnn")


def test_a_run_that_no_longer_improves_stops_early(stopped_early: Path) -> None:
    assert len(numbers(stopped_early)) - 1 < 10


def test_the_last_epoch_is_kept_though_it_is_not_the_best(stopped_early: Path) -> None:
    assert resumable_epoch(stopped_early, "last.ckpt") == len(numbers(stopped_early)) - 1
    assert resumable_epoch(stopped_early, "best.ckpt") < resumable_epoch(stopped_early, "last.ckpt")


def test_a_run_that_lost_patience_and_was_killed_before_its_results_trains_no_further(stopped_early: Path) -> None:
    before = numbers(stopped_early)
    (stopped_early / "results.json").unlink()
    config = TrainConfig.model_validate_json((stopped_early / "config.json").read_bytes())
    train(config, stopped_early.parent, "digits_cnn")
    assert numbers(stopped_early) == before


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run folder as if it had been killed after two of three epochs, and then moved."""
    folder = train(tiny_config(num_epochs=3), tmp_path / "before", "digits_cnn")
    moved = Path(shutil.copytree(folder, tmp_path / "after/digits_cnn"))
    shutil.rmtree(tmp_path / "before")
    for name in ("results.json", "checkpoint.json", "weights.safetensors"):
        (moved / name).unlink()
    return moved


def test_a_moved_run_goes_on_with_its_best_epoch(interrupted: Path, tiny_run: Path) -> None:
    train(tiny_config(), interrupted.parent, "digits_cnn")
    assert numbers(interrupted) == numbers(tiny_run)
    assert weights(interrupted) == weights(tiny_run)


@pytest.mark.parametrize("cut_off", [["last.ckpt"], ["last.ckpt", "best.ckpt"]])
def test_a_checkpoint_that_was_cut_off_is_passed_over(
    cut_off: list[str], interrupted: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in cut_off:
        path = interrupted / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:1000])
    train(tiny_config(), interrupted.parent, "digits_cnn")
    assert "last.ckpt cannot be read" in capsys.readouterr().err
    assert numbers(interrupted) == numbers(tiny_run)
    assert weights(interrupted) == weights(tiny_run)


def test_a_damaged_configuration_says_what_to_do(interrupted: Path) -> None:
    (interrupted / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"config\.json: cannot be read.*remove"):
        train(tiny_config(), interrupted.parent, "digits_cnn")


def test_nested_settings_are_told_apart_by_their_flags(tiny_run: Path) -> None:
    other = tiny_config(optim=tiny_config().optim.model_copy(update={"lr": 0.5}))
    with pytest.raises(RunError, match=r"other settings: optim\.lr was 0\.01, is 0\.5; choose"):
        train(other, tiny_run.parent, "digits_cnn")


def test_a_run_does_not_go_on_with_other_data(interrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.digits.TEST_SEED", 1)
    with pytest.raises(RunError, match="not what this run began with"):
        train(tiny_config(), interrupted.parent, "digits_cnn")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"devices": 0}, "devices 0"),
        ({"optim": {"lr": 1e30}}, r"diverged.*--optim\.lr"),
        ({"preprocess": {"height_px": 1}}, r"cannot take inputs of \[1, 8, 1\]"),
        pytest.param(
            {"precision": "16-mixed"},
            "precision 16-mixed is not to be had",
            marks=[
                pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has it"),
                pytest.mark.filterwarnings("ignore:You passed"),
            ],
        ),
    ],
)
def test_what_cannot_be_trained_says_why(change: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=says):
        train(changed(change), tmp_path, "digits_cnn")


def test_data_too_few_to_choose_on_is_refused(tmp_path: Path) -> None:
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "data" / place).mkdir(parents=True)
        (tmp_path / "data" / place / "0.png").write_bytes(png())
    folder = {"dataset": "image-folder", "folder": tmp_path / "data"}
    with pytest.raises(DataError, match=r"validation_share 0\.1 of 2 train samples holds out none"):
        train(changed({"data": folder}), tmp_path, "digits_cnn")


def changed(change: dict[str, Any]) -> TrainConfig:
    values = tiny_config(num_epochs=1).model_dump()
    nested = {key: values[key] | value for key, value in change.items() if isinstance(value, dict)}
    return TrainConfig.model_validate(values | change | nested)


def test_a_run_that_failed_before_its_first_epoch_can_be_corrected(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot take inputs"):
        train(changed({"preprocess": {"height_px": 1}}), tmp_path, "digits_cnn")
    assert train(changed({}), tmp_path, "digits_cnn") == tmp_path / "digits_cnn"


def test_a_batch_larger_than_the_data_is_all_of_it(tmp_path: Path) -> None:
    folder = train(tiny_config(batch_size=5000, num_epochs=5), tmp_path, "digits_cnn")
    assert len(numbers(folder)) == 1 + 5


def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [*TRAIN, *SMALL, "5000"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    last = tmp_path / "runs/digits_cnn/checkpoints/last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "change", [{"precision": "bf16-mixed"}, {"optim": {"name": "sgd", "lr": 0.1, "schedule": "cosine"}}]
)
def test_every_way_to_train_learns_something(change: dict[str, object], tmp_path: Path) -> None:
    config = tiny_config(num_epochs=6)  # batch statistics of fewer steps lag behind, and the seed would decide
    optim = config.optim.model_copy(update=change.get("optim", {}))
    folder = train(config.model_copy(update=change | {"optim": optim}), tmp_path, "digits_cnn")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["metrics"]["accuracy"] > 0.5
