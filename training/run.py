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
from bundle.preprocess import Prepare, TextTokens, load_preprocess
from bundle.spec import problems
from bundle.tasks import TASKS as MEANINGS
from bundle.tasks import Decode, Task
from bundle.tensors import Compute
from training.answers import answer, checkpoint_compute, output_names, record_golden
from training.checkpoint import Checkpoint, code_commit, library_versions, new_graph, save_checkpoint
from training.config import TrainConfig
from training.data.prepared import PreparedSplit
from training.data.samples import Splits, train_and_validation
from training.figures import draw_curves
from training.graph import Graph, Inputs
from training.history import History
from training.loop import Batches, Loop, fit
from training.results import RESULTS_FILE, Results, this_machine, write_results
from training.resume import CHECKPOINTS
from training.tasks import TrainingTask, training_task
from training.tokenizer import train_tokenizer

CONFIG_FILE = "config.json"


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
    batches = Batches(config, run.task, run.train, run.validation, run.data_sha256)
    trainer = fit(Loop(config, run.task, run.graph, run.task.augment(config.augment)), batches, folder, run.history)
    if not trainer.is_global_zero:
        sys.exit(0)  # one of several processes that trained together; the first one concludes
    _test_once(run, _keep_best(run))
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
    prepare: Prepare
    train: PreparedSplit
    validation: PreparedSplit
    task: TrainingTask
    graph: Graph
    history: History


def _begin(folder: Path, config: TrainConfig, recipe: str) -> Run:
    commit = code_commit()
    splits = config.data.load()
    data_sha256 = splits.sha256()  # before anything is read for training: a file that changes later is not this data
    train_samples, validation_samples = train_and_validation(splits, config.validation_share, config.seed)
    if config.tokenizer is not None and isinstance(config.preprocess, TextTokens):
        train_tokenizer(config.tokenizer, config.preprocess, train_samples, folder)
    prepare = load_preprocess(config.preprocess, folder)
    task = training_task(config.task)(splits.labels, config.preprocess)
    train = PreparedSplit(train_samples, prepare, task.prepare_target)
    validation = PreparedSplit(validation_samples, prepare, task.prepare_target)
    graph = new_graph(config, splits.labels)
    graph.stem.fit(train.inputs)
    _try(graph, train[0][0])
    history = History(folder / "metrics.csv", task.validation_metric_name)
    return Run(folder, config, recipe, commit, splits, data_sha256, prepare, train, validation, task, graph, history)


def _try(graph: Graph, inputs: Inputs) -> None:
    """One sample through the network, before hours of training."""
    try:
        with torch.inference_mode():
            graph.eval()(*inputs)
    except RuntimeError as cause:
        shapes = ", ".join(str(list(tensor.shape[1:])) for tensor in inputs)
        raise RunError(f"the network cannot take inputs of {shapes}: {cause}") from None
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


def _keep_best(run: Run) -> Decode:
    """The best epoch's weights are in the graph: save them, with golden samples and what rebuilds them."""
    monitor = f"validation_{run.task.validation_metric_name}"
    best = (max if run.task.validation_better == "max" else min)(run.history.rows, key=lambda row: row[monitor])
    if not all(torch.isfinite(tensor).all() for tensor in run.graph.state_dict().values()):
        raise RunError(f"{run.folder}: training diverged: the weights are not finite; try a lower --optim.lr")
    run.graph.eval().float().cpu()
    decode = run.task.finish(run.graph, run.train, run.validation)
    meaning, compute = _meaning(run, decode)
    checkpoint = Checkpoint(
        recipe=run.recipe,
        config=run.config,
        labels=run.splits.labels,
        decode=decode,
        data_sha256=run.data_sha256,
        best_epoch=int(best["epoch"]),
        validation={run.task.validation_metric_name: best[monitor]},
        golden=record_golden(run.folder, run.validation.samples, run.prepare, compute, meaning),
        commit=run.commit,
        versions=library_versions(),
    )
    save_checkpoint(run.folder, checkpoint, run.graph)
    draw_curves(run.folder / "curves.png", run.history.rows, run.task.validation_metric_name)
    return decode


def _meaning(run: Run, decode: Decode) -> tuple[Task[Any, Any], Compute]:
    meaning = MEANINGS[run.config.task](decode)
    return meaning, checkpoint_compute(run.graph, output_names(meaning, run.config.preprocess))


def _test_once(run: Run, decode: Decode) -> None:
    """Touch the test split, after everything has been chosen, and write the figures: the run is finished."""
    meaning, compute = _meaning(run, decode)
    test = run.splits.test
    answers = answer(test, run.prepare, compute, meaning)
    metrics = run.task.score(answers, [test.target(i) for i in range(len(test))])
    run.task.draw(run.folder, test, answers)
    baseline = run.task.baseline(run.train, PreparedSplit(test, run.prepare, run.task.prepare_target))
    results = Results(
        recipe=run.recipe,
        task=run.config.task,
        data=run.config.data.dataset,
        split="test",
        metrics={name: round(value, 6) for name, value in metrics.items()},
        baseline={name: round(value, 6) for name, value in baseline.items()},
        published=run.config.published,
        seconds=run.history.seconds,
        command=shlex.join(sys.orig_argv),
        seed=run.config.seed,
        commit=run.commit,
        machine=this_machine(),
    )
    write_results(run.folder / RESULTS_FILE, results)
