"""metrics.csv: one row an epoch, kept across interruptions because it lives in the checkpoint too.

Knows Lightning's callbacks. Knows nothing of networks.
"""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class History(Callback):
    """Rows of epoch, losses, metric, learning rate and seconds since the run began (pauses not counted)."""

    def __init__(self, path: Path, metric_name: str) -> None:
        self.rows: list[dict[str, float]] = []
        self._path = path
        self._columns = ("train_loss", "validation_loss", f"validation_{metric_name}")
        self._start_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """Training time so far, over all interruptions."""
        return self.rows[-1]["seconds"] if self.rows else 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin, or go on, counting."""
        self._start_s = time.monotonic() - self.seconds

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's row; this callback stands before the one that saves, so the checkpoint holds the row."""
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1}
        row |= {name: round(float(trainer.callback_metrics[name]), 6) for name in self._columns}
        row["lr"] = float(f"{trainer.optimizers[0].param_groups[0]['lr']:.6g}")
        row["seconds"] = round(time.monotonic() - self._start_s, 2)
        self.rows.append(row)
        if trainer.is_global_zero:
            self._write()
            figures = "  ".join(f"{name} {row[name]:.4f}" for name in self._columns)
            print(f"epoch {row['epoch']:>3}/{trainer.max_epochs}  {figures}  {row['seconds']:.0f} s", file=sys.stderr)

    def state_dict(self) -> dict[str, Any]:
        """What the resumable checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Rows of the epochs that the checkpoint has seen; a later row of a killed run is dropped."""
        self.rows = list(state_dict["rows"])

    def _write(self) -> None:
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
