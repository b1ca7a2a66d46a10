"""A run folder, from its first file to its last: start or resume, train, choose, test once, write everything down.

runs/<name>/ holds config.json, metrics.csv, curves.png, pictures of the task, checkpoint.json + weights.safetensors,
golden/, results.json (written last: a run with it is finished) and checkpoints/ for resuming.
"""

import shlex
import sys
from pathlib import Path

import lightning as L
import torch
from pydantic import ValidationError

from bundle.errors import RunError
from bundle.spec import problems
from bundle.tasks import TASKS as MEANINGS
from training.augment import build_augment
from training.checkpoint import Checkpoint, code_commit, library_versions, new_graph, record_golden, save_checkpoint
from training.config import TrainConfig
from training.data.prepared import PreparedSplit
from training.data.samples import Samples, Splits, hold_out
from training.figures import draw_curves
from training.graph import Graph
from training.history import History
from training.loop import Batches, Loop, fit
from training.results import RESULTS_FILE, Results, this_machine, write_results
from training.tasks import TrainingTask, training_task

CONFIG_FILE = "config.json"
EVALUATION_BATCH = 500


def train(config: TrainConfig, out: Path, recipe: str) -> Path:
    """Train a configuration in `out`/<name>; a finished run is left as it is, an interrupted one goes on.

    Raises:
        RunError: the folder holds a run with other settings. DataError: the data cannot be read.
    """
    folder = out / config.name
    if _claim(folder, config):
        print(f"{folder} is finished; nothing to do (remove it to train again)", file=sys.stderr)
        return folder
    L.seed_everything(config.seed, verbose=False)
    commit = code_commit()
    splits = config.data.load()
    train_samples, validation_samples = _choose_splits(splits, config)
    prepared = [PreparedSplit(samples, config.preprocess) for samples in (train_samples, validation_samples)]
    task = training_task(config.task)(splits.labels)
    graph = new_graph(config, splits.labels)
    graph.stem.fit(prepared[0].inputs)
    augment = build_augment(config.augment, config.preprocess.height_px, config.preprocess.width_px)
    history = History(folder / "metrics.csv", task.metric_name)
    trainer = fit(Loop(config, task, graph, augment), Batches(config, task, *prepared), folder, history)
    if not trainer.is_global_zero:
        sys.exit(0)  # one of several processes that trained together; the first one concludes
    _conclude(folder, config, recipe, commit, splits, (prepared[0], validation_samples), task, graph, history)
    return folder


def _claim(folder: Path, config: TrainConfig) -> bool:
    """Make the folder this configuration's own; True where its run is finished already."""
    path = folder / CONFIG_FILE
    if path.is_file():
        advice = f"choose another --name or --out, or remove {folder}"
        try:
            there = TrainConfig.model_validate_json(path.read_bytes())
        except ValidationError as cause:
            raise RunError(f"{path}: cannot be read, so the run cannot go on: {problems(cause)}; {advice}") from None
        if there != config:
            raise RunError(f"{folder} holds a run with other settings: {_differences(there, config)}; {advice}")
        return (folder / RESULTS_FILE).is_file()
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return False


def _differences(there: TrainConfig, here: TrainConfig) -> str:
    was, now = there.model_dump(), here.model_dump()
    return ", ".join(f"{key} was {was[key]}, is {now[key]}" for key in now if was[key] != now[key])


def _choose_splits(splits: Splits, config: TrainConfig) -> tuple[Samples, Samples]:
    if splits.validation is not None:
        return splits.train, splits.validation
    return hold_out(splits.train, config.validation_share, config.seed)


def _conclude(
    folder: Path,
    config: TrainConfig,
    recipe: str,
    commit: str,
    splits: Splits,
    seen: tuple[PreparedSplit, Samples],
    task: TrainingTask,
    graph: Graph,
    history: History,
) -> None:
    """The best epoch's weights are in the graph: save them, then touch the test split, once."""
    monitor = f"validation_{task.metric_name}"
    best = (max if task.better == "max" else min)(history.rows, key=lambda row: row[monitor])
    meaning = MEANINGS[config.task](task.decode_parameters())
    checkpoint = Checkpoint(
        recipe=recipe,
        config=config,
        labels=splits.labels,
        data_sha256=splits.sha256(),
        best_epoch=int(best["epoch"]),
        validation={task.metric_name: best[monitor]},
        golden=record_golden(folder, config, graph, meaning, seen[1]),
        commit=commit,
        versions=library_versions(),
    )
    save_checkpoint(folder, checkpoint, graph)
    draw_curves(folder / "curves.png", history.rows, task.metric_name)
    test = PreparedSplit(splits.test, config.preprocess)
    outputs = _evaluate(graph, test)
    metric = task.new_metric()
    metric.update(outputs, task.stack_targets(test.targets))
    task.draw(folder, outputs.numpy(), test.targets)
    results = Results(
        recipe=recipe,
        task=config.task,
        data=config.data.dataset,
        split="test",
        metrics={task.metric_name: round(float(metric.compute()), 6)},
        baseline={name: round(value, 6) for name, value in task.baseline(seen[0], test).items()},
        published=config.published,
        seconds=history.seconds,
        command=shlex.join(["modelyard", *sys.argv[1:]]),
        seed=config.seed,
        commit=commit,
        machine=this_machine(),
    )
    write_results(folder / RESULTS_FILE, results)


def _evaluate(graph: Graph, split: PreparedSplit) -> torch.Tensor:
    graph = graph.eval().float().cpu()
    with torch.inference_mode():
        return torch.cat([graph(inputs) for inputs in split.inputs.split(EVALUATION_BATCH)])
