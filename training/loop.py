"""The loop, by Lightning: steps, optimiser, schedule, best and last checkpoint, early stopping, resume, devices.

Every random number of an epoch follows from (seed, epoch) alone, so an interrupted run resumes to the same numbers.
Knows a Graph, a TrainingTask and prepared splits. Knows nothing of where data comes from or what a run folder holds.
"""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

from bundle.errors import RunError
from training.config import Optim, TrainConfig
from training.data.prepared import PreparedSplit
from training.graph import Graph, Inputs
from training.history import History
from training.resume import BEST, LAST, Keep, best_weights, resume_from
from training.sampling import BalancedSampler, LengthSampler
from training.tasks import TrainingTask

EPOCH_SEED_STRIDE = 1_000_003  # a prime far over any number of epochs: no two (seed, epoch) pairs meet


class Loop(L.LightningModule):
    """One step of each kind; batches are (inputs, targets)."""

    def __init__(self, config: TrainConfig, task: TrainingTask, graph: Graph, augment: nn.Module | None) -> None:
        super().__init__()
        self.config = config
        self.task = task
        self.graph = graph
        self.augment = augment
        self.validation_metric = task.new_metric()

    def training_step(self, batch: tuple[Inputs, torch.Tensor], _: int) -> torch.Tensor:
        """Loss of one augmented batch."""
        inputs, targets = batch
        features = self.graph.stem(*inputs)
        if self.augment is not None:
            augmented, targets = self.augment(features[0], targets)
            features = (augmented, *features[1:])
        loss = self.task.loss(self.graph.network(*features), targets, self.config.label_smoothing)
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(targets), sync_dist=True
        )
        return loss

    def validation_step(self, batch: tuple[Inputs, torch.Tensor], _: int) -> None:
        """Loss without smoothing, and the metric of what would be served."""
        inputs, targets = batch
        logits = self.graph.logits(inputs)
        outputs = self.graph.tail(logits)
        self.validation_metric.update(outputs if isinstance(outputs, tuple) else (outputs,), targets)
        loss = self.task.loss(logits, targets, 0.0)
        self.log("validation_loss", loss, on_epoch=True, batch_size=len(targets), sync_dist=True)
        name = f"validation_{self.task.validation_metric_name}"
        self.log(name, self.validation_metric, on_epoch=True, prog_bar=True, batch_size=len(targets))

    def configure_optimizers(self) -> Any:
        """The optimiser, with its schedule stepped once a batch."""
        optim = self.config.optim
        optimizer = OPTIMIZERS[optim.name](self.graph.parameters(), optim)
        if optim.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule: Any = (
            torch.optim.lr_scheduler.OneCycleLR(
                optimizer, optim.lr, total_steps=steps, pct_start=_rising_share(optim.warmup_share, steps)
            )
            if optim.schedule == "one_cycle"
            else torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _rising_share(share: float, steps: int) -> float:
    """At least two steps, where there are two: over a rise of exactly one, OneCycleLR divides by zero."""
    return max(share, 2 / steps) if steps > 1 else share


def _adamw(parameters: Any, optim: Optim) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=optim.lr, weight_decay=optim.weight_decay)


def _sgd(parameters: Any, optim: Optim) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=optim.lr, weight_decay=optim.weight_decay, momentum=0.9, nesterov=True)


LIGHTNING_CHATTER = (
    r"`isinstance\(treespec, LeafSpec",  # its own use of torch, which torch 2.13 deprecates
    r"Checkpoint directory .* exists and is not empty",  # as it should be when a run is resumed
)
OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


class SeedEachEpoch(Callback):
    """Dropout and augmentation of an epoch depend on (seed, epoch), not on what ran before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reseed torch's generators."""
        seed = self._seed * EPOCH_SEED_STRIDE + trainer.current_epoch
        torch.manual_seed(seed + trainer.global_rank * EPOCH_SEED_STRIDE**2)


class Patience(EarlyStopping):
    """Early stopping that a run remembers which was killed between its last epoch and its results."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train no further where patience had run out."""
        trainer.should_stop = self.wait_count >= self.patience


class Batches(L.LightningDataModule):
    """Loaders over prepared splits; the order of an epoch follows from (seed, epoch)."""

    def __init__(
        self,
        config: TrainConfig,
        task: TrainingTask,
        train: PreparedSplit,
        validation: PreparedSplit,
        data_sha256: str,
    ) -> None:
        super().__init__()
        self.config, self.task, self.train, self.validation = config, task, train, validation
        self.data_sha256 = data_sha256

    def state_dict(self) -> dict[str, Any]:
        """What the resumable checkpoint keeps."""
        return {"data_sha256": self.data_sha256}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data: the checkpoint would name a digest that its first epochs never saw."""
        if state_dict["data_sha256"] != self.data_sha256:
            raise RunError("the data is not what this run began with (another sha256); choose another --name or --out")

    def train_dataloader(self) -> DataLoader:
        """Shuffled."""
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """In order."""
        return self._loader(self.validation, shuffle=False)

    def _loader(self, split: PreparedSplit, shuffle: bool) -> DataLoader:
        assert self.trainer is not None  # noqa: S101 - Lightning sets it before it asks for loaders
        size, rank, seed = self.trainer.world_size, self.trainer.global_rank, self.config.seed
        sampler: DistributedSampler[Any] = (
            BalancedSampler(split, size, rank, seed)
            if shuffle and self.config.balance_labels
            else DistributedSampler(split, size, rank, shuffle=shuffle, seed=seed)
        )
        if shuffle and split.lengths is not None:
            sampler = LengthSampler(sampler, split.lengths, self.config.batch_size)
        # A loader draws a number when it starts; from torch's own generator that would shift all that follow,
        # and at another place in a resumed run than in one that was not interrupted.
        own = torch.Generator()
        return DataLoader(split, self.config.batch_size, sampler=sampler, collate_fn=self._collate, generator=own)

    def _collate(self, batch: Any) -> tuple[Inputs, torch.Tensor]:
        return batch[0], self.task.stack_targets(batch[1])


def fit(loop: Loop, batches: Batches, folder: Path, history: History) -> L.Trainer:
    """Train, or go on where an interrupted run of this folder stopped; the loop ends with the best epoch's weights.

    Returns the trainer; under several devices every process comes back, and `is_global_zero` tells the first.

    Raises:
        RunError: this machine has not the devices or the precision, or the data changed. KeyboardInterrupt: Ctrl-C.
    """
    config, task = loop.config, loop.task
    monitor = f"validation_{task.validation_metric_name}"
    early = Patience(monitor, mode=task.validation_better, patience=config.patience_epochs)
    keep = [Keep(folder, BEST, monitor, task.validation_better), Keep(folder, LAST)]
    for message in LIGHTNING_CHATTER:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips are not about this run
    trainer = _trainer(config, folder, [SeedEachEpoch(config.seed), history, early, *keep])
    try:
        trainer.fit(loop, datamodule=batches, ckpt_path=resume_from(folder), weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C, without a word
        if not trainer.interrupted:
            raise
        print(f"interrupted after {len(history.rows)} epochs; the same command goes on", file=sys.stderr)
        raise KeyboardInterrupt from None
    loop.load_state_dict(best_weights(folder))
    if torch.distributed.is_initialized():  # what follows is for one process, and must not wait for the others
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return trainer


def _trainer(config: TrainConfig, folder: Path, callbacks: list[Callback]) -> L.Trainer:
    try:
        trainer = L.Trainer(
            max_epochs=config.num_epochs,
            devices="auto" if config.devices == -1 else config.devices,
            precision=config.precision,
            gradient_clip_val=config.gradient_clip_norm,
            callbacks=callbacks,
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stdout.isatty(),  # the bar goes there, where scripts read the run folder
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
    except MisconfigurationException as cause:
        raise RunError(f"devices {config.devices}: {cause}") from None
    if trainer.precision != config.precision:  # Lightning takes another one with a mere warning
        raise RunError(f"precision {config.precision} is not to be had on this machine; it has {trainer.precision}")
    return trainer
