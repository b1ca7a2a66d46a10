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
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

from training.config import Optim, TrainConfig
from training.data.prepared import PreparedSplit
from training.graph import Graph
from training.history import History
from training.resume import BestAndLast, best_weights, resume_from
from training.tasks import TrainingTask

EPOCH_SEED_STRIDE = 1_000_003  # a prime far over any number of epochs: no two (seed, epoch) pairs meet


class Loop(L.LightningModule):
    """One step of each kind; batches are (uint8 inputs, targets)."""

    def __init__(self, config: TrainConfig, task: TrainingTask, graph: Graph, augment: nn.Module | None) -> None:
        super().__init__()
        self.config = config
        self.task = task
        self.graph = graph
        self.augment = augment
        self.validation_metric = task.new_metric()

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """Loss of one augmented batch."""
        inputs, targets = batch
        loss = self.task.loss(self.graph.logits(inputs, self.augment), targets, self.config.label_smoothing)
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(targets), sync_dist=True
        )
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        """Loss without smoothing, and the task's metric."""
        inputs, targets = batch
        logits = self.graph.logits(inputs)
        self.validation_metric.update(logits, targets)
        loss = self.task.loss(logits, targets, 0.0)
        self.log("validation_loss", loss, on_epoch=True, batch_size=len(targets), sync_dist=True)
        self.log(f"validation_{self.task.metric_name}", self.validation_metric, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """The optimiser, with its schedule stepped once a batch."""
        optim = self.config.optim
        optimizer = OPTIMIZERS[optim.name](self.graph.parameters(), optim)
        if optim.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule: Any = (
            torch.optim.lr_scheduler.OneCycleLR(optimizer, optim.lr, total_steps=steps, pct_start=optim.warmup_share)
            if optim.schedule == "one_cycle"
            else torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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


class Batches(L.LightningDataModule):
    """Loaders over prepared splits; the order of an epoch follows from (seed, epoch)."""

    def __init__(
        self, config: TrainConfig, task: TrainingTask, train: PreparedSplit, validation: PreparedSplit
    ) -> None:
        super().__init__()
        self.config, self.task, self.train, self.validation = config, task, train, validation

    def train_dataloader(self) -> DataLoader:
        """Shuffled."""
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """In order."""
        return self._loader(self.validation, shuffle=False)

    def _loader(self, split: PreparedSplit, shuffle: bool) -> DataLoader:
        assert self.trainer is not None  # noqa: S101 - Lightning sets it before it asks for loaders
        sampler: DistributedSampler[Any] = DistributedSampler(
            split, self.trainer.world_size, self.trainer.global_rank, shuffle=shuffle, seed=self.config.seed
        )
        # A loader draws a number when it starts; from torch's own generator that would shift all that follow,
        # and at another place in a resumed run than in one that was not interrupted.
        own = torch.Generator()
        return DataLoader(split, self.config.batch_size, sampler=sampler, collate_fn=self._collate, generator=own)

    def _collate(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return batch[0], self.task.stack_targets(batch[1])


def fit(loop: Loop, batches: Batches, folder: Path, history: History) -> L.Trainer:
    """Train, or go on where an interrupted run of this folder stopped; the loop ends with the best epoch's weights.

    Returns the trainer; under several devices every process comes back, and `is_global_zero` tells the first.
    """
    config, task = loop.config, loop.task
    monitor = f"validation_{task.metric_name}"
    keep = BestAndLast(folder, monitor, task.better)
    early = EarlyStopping(monitor, mode=task.better, patience=config.patience_epochs)
    for message in LIGHTNING_CHATTER:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips are not about this run
    trainer = L.Trainer(
        max_epochs=config.num_epochs,
        devices="auto" if config.devices == -1 else config.devices,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip_norm,
        callbacks=[SeedEachEpoch(config.seed), history, early, keep],
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(loop, datamodule=batches, ckpt_path=resume_from(folder), weights_only=True)
    loop.load_state_dict(best_weights(folder))
    if torch.distributed.is_initialized():  # what follows is for one process, and must not wait for the others
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return trainer
