"""The state of an interrupted training, written whole after every epoch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from biolm_ray.errors import TrainingError
from biolm_ray.files import atomic_path


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epochs: Completed epochs.
        best: Value of the stopping metric at the best epoch, None before the first.
        best_epoch: That epoch, counted from 1.
        best_weights: The module's state then.
        history: One entry per completed epoch.
    """

    epochs: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def epochs_without_gain(self) -> int:
        return self.epochs - self.best_epoch


def save_checkpoint(
    path: Path, progress: Progress, module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state of a training; an older checkpoint stays until this one is whole."""
    state = {
        "epochs": progress.epochs,
        "best": progress.best,
        "best_epoch": progress.best_epoch,
        "best_weights": progress.best_weights,
        "history": json.dumps(progress.history),
        "weights": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(
    path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Put the stored state into module and optimizer; a missing file is the very beginning.

    Raises:
        TrainingError: The file is damaged or of another model.
    """
    if not path.exists():
        return Progress()
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, KeyError, ValueError, EOFError) as error:
        raise TrainingError(
            f"{path}: this checkpoint is damaged or of another model ({error}); "
            "run without resume to train anew"
        ) from error
    return Progress(
        epochs=state["epochs"],
        best=state["best"],
        best_epoch=state["best_epoch"],
        best_weights=state["best_weights"],
        history=json.loads(state["history"]),
    )
