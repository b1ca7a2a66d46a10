"""Resumable checkpoints that survive being killed while they are written and being moved with their run folder.

Knows Lightning's checkpoint callback. Knows nothing of what is trained.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

CHECKPOINTS = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"


class Keep(ModelCheckpoint):
    """Keeps one epoch as `folder`/checkpoints/`name`: the best by `monitor`, or the last where none is given.

    Two of them, because Lightning's `save_last` writes only in epochs that are a new best.
    """

    def __init__(self, folder: Path, name: str, monitor: str | None = None, mode: str = "min") -> None:
        stem = name.removesuffix(".ckpt")
        super().__init__(folder / CHECKPOINTS, stem, monitor, mode=mode, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets the best score where the folder has another path than when it was saved; this does not."""
        here = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(here / Path(path).name) if path else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | paths | {"best_k_models": best, "dirpath": self.dirpath})


def resume_from(folder: Path) -> Path | None:
    """The newest checkpoint of a run folder that can be read, or None to begin at the beginning.

    Going back further than needed costs time, not truth: the same epochs give the same numbers again.
    """
    for name in (LAST, BEST):
        path = folder / CHECKPOINTS / name
        if path.is_file() and _is_whole(path):
            return path
    return None


def best_weights(folder: Path) -> dict[str, torch.Tensor]:
    """State of the best epoch's LightningModule."""
    weights: dict[str, torch.Tensor] = torch.load(folder / CHECKPOINTS / BEST, map_location="cpu", weights_only=True)[
        "state_dict"
    ]
    return weights


def _is_whole(path: Path) -> bool:
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as cause:
        print(f"{path} cannot be read ({str(cause).splitlines()[0]}); going back further", file=sys.stderr)
        return False
    return True
