"""A run folder, from its first file to its last: start or resume, train, choose, test once, write everything down.

runs/<name>/ holds config.json, metrics.csv, curves.png, pictures of the task, checkpoint.json + weights.safetensors,
golden/, results.json (written last: a run with it is finished) and checkpoints/ for resuming.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from training.data.samples import Samples, Splits, train_and_validation
from training.figures import draw_curves
from training.graph import Graph
from training.history import History
from training.loop import Batches, Loop, fit
from training.results import RESULTS_FILE, Results, this_machine, write_results
from training.resume import CHECKPOINTS
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
    run = _begin(folder, config, recipe)
    augment = build_augment(config.augment, config.preprocess.height_px, config.preprocess.width_px)
    batches = Batches(config, run.task, run.train, PreparedSplit(run.validation, config.preprocess), run.data_sha256)
    trainer = fit(Loop(config, run.task, run.graph, augment), batches, folder, run.history)
    if not trainer.is_global_zero:
        sys.exit(0)  # one of several processes that trained together; the first one concludes
    _keep_best(run)
    _test_once(run)
    return folder


@dataclass(frozen=True)
class Run:
    """One run while it is under way; its graph learns, its history grows."""

    folder: Path
    config: TrainConfig
    recipe: str
    commit: str
    splits: Splits
    data_sha256: str
    train: PreparedSplit
    validation: Samples
    task: TrainingTask
    graph: Graph
    history: History


def _begin(folder: Path, config: TrainConfig, recipe: str) -> Run:
    commit = code_commit()
    splits = config.data.load()
    data_sha256 = splits.sha256()  # before anything is read for training: a file that changes later is not this data
    train_samples, validation = train_and_validation(splits, config.validation_share, config.seed)
    prepared = PreparedSplit(train_samples, config.preprocess)
    task = training_task(config.task)(splits.labels)
    graph = new_graph(config, splits.labels)
    graph.stem.fit(prepared.inputs)
    _try(graph, prepared.inputs[:1])
    history = History(folder / "metrics.csv", task.metric_name)
    return Run(folder, config, recipe, commit, splits, data_sha256, prepared, validation, task, graph, history)


def _try(graph: Graph, inputs: torch.Tensor) -> None:
    """One picture through the network, before hours of training."""
    try:
        with torch.inference_mode():
            graph.eval()(inputs)
    except RuntimeError as cause:
        raise RunError(f"the network cannot take inputs of {list(inputs.shape[1:])}: {cause}") from None
    graph.train()


def _claim(folder: Path, config: TrainConfig) -> bool:
    """Make the folder this configuration's own; True where its run is finished already."""
    path = folder / CONFIG_FILE
    begun = any((folder / name).exists() for name in (CHECKPOINTS, RESULTS_FILE))
    if path.is_file() and begun:  # a run that failed before its first epoch keeps nobody from correcting it
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
    was, now = _flat(there.model_dump()), _flat(here.model_dump())
    keys = [key for key in was | now if was.get(key) != now.get(key)]
    return ", ".join(f"{key} was {was.get(key)}, is {now.get(key)}" for key in keys)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by the names that their flags have."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _keep_best(run: Run) -> None:
    """The best epoch's weights are in the graph: save them, with golden samples and what rebuilds them."""
    monitor = f"validation_{run.task.metric_name}"
    best = (max if run.task.better == "max" else min)(run.history.rows, key=lambda row: row[monitor])
    if not all(torch.isfinite(tensor).all() for tensor in run.graph.state_dict().values()):
        raise RunError(f"{run.folder}: training diverged: the weights are not finite; try a lower --optim.lr")
    meaning = MEANINGS[run.config.task](run.task.decode_parameters())
    checkpoint = Checkpoint(
        recipe=run.recipe,
        config=run.config,
        labels=run.splits.labels,
        data_sha256=run.data_sha256,
        best_epoch=int(best["epoch"]),
        validation={run.task.metric_name: best[monitor]},
        golden=record_golden(run.folder, run.config, run.graph, meaning, run.validation),
        commit=run.commit,
        versions=library_versions(),
    )
    save_checkpoint(run.folder, checkpoint, run.graph)
    draw_curves(run.folder / "curves.png", run.history.rows, run.task.metric_name)


def _test_once(run: Run) -> None:
    """Touch the test split, after everything has been chosen, and write the figures: the run is finished."""
    test = PreparedSplit(run.splits.test, run.config.preprocess)
    outputs = _evaluate(run.graph, test)
    metric = run.task.new_metric()
    metric.update(outputs, run.task.stack_targets(test.targets))
    run.task.draw(run.folder, outputs.numpy(), test.targets)
    results = Results(
        recipe=run.recipe,
        task=run.config.task,
        data=run.config.data.dataset,
        split="test",
        metrics={run.task.metric_name: round(float(metric.compute()), 6)},
        baseline={name: round(value, 6) for name, value in run.task.baseline(run.train, test).items()},
        published=run.config.published,
        seconds=run.history.seconds,
        command=shlex.join(sys.orig_argv),
        seed=run.config.seed,
        commit=run.commit,
        machine=this_machine(),
    )
    write_results(run.folder / RESULTS_FILE, results)


def _evaluate(graph: Graph, split: PreparedSplit) -> torch.Tensor:
    graph = graph.eval().float().cpu()
    with torch.inference_mode():
        return torch.cat([graph(inputs) for inputs in split.inputs.split(EVALUATION_BATCH)])
