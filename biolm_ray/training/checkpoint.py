"""The state of an interrupted training, in files that are whole, or known not to be."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from biolm_ray.errors import TrainingError
from biolm_ray.files import atomic_path

CHECKPOINTS = "checkpoint"
"""Their folder, in that of the model."""

# The one before the newest is there for the day the newest is damaged.
NUM_KEPT = 2
READ_BYTES = 1 << 20


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epochs: Completed epochs.
        steps: Completed steps of the epoch that is under way.
        loss_sum: Losses of those steps, each times its weight.
        weight_sum: Weights of those steps.
        num_parts: Into how many parts a micro-batch is cut, so that it fits into the memory.
        best: Value of the stopping metric at the best epoch, None before the first.
        best_epoch: That epoch, counted from 1.
        best_weights: The module's state then.
        history: One entry per completed epoch.
    """

    epochs: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    num_parts: int = 1
    best: float | None = None
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def epochs_without_gain(self) -> int:
        return self.epochs - self.best_epoch


class Checkpoints:
    """The newest checkpoints of a training.

    A file is named by the epochs and steps that it follows and by the checksum of its content.
    Random numbers are not kept: they depend on epoch and step alone.

    Args:
        folder: Theirs alone.
        note: Takes a sentence for the user.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._folder = folder
        self._note = note

    def save(
        self, progress: Progress, module: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Write the state of a training, then remove all but the newest files.

        Raises:
            ResourceError: The disk is full; what was written before stays.
        """
        state = {
            **vars(progress),
            "history": json.dumps(progress.history),
            "weights": module.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        written = self._folder / "written.pt"
        for left_over in self._folder.glob(f".{written.name}.*"):  # of a worker that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        with atomic_path(written) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        name = f"{progress.epochs:06d}-{progress.steps:09d}-{_checksum(written)}.pt"
        written.replace(self._folder / name)
        for path in self._newest_first()[NUM_KEPT:]:
            path.unlink(missing_ok=True)

    def restore(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Put the newest whole state into module and optimizer.

        Without files it is the beginning, as it is where the very first file is damaged.

        Raises:
            TrainingError: Neither of two files is whole, or the model is another one.
        """
        paths = self._newest_first()
        for path in paths:
            if path.stem.rpartition("-")[2] == _checksum(path):
                return _restored(path, module, optimizer)
            self._note(f"{path} is damaged; it is left out")
        if len(paths) >= NUM_KEPT:
            raise TrainingError(
                f"{paths[0].parent}: every checkpoint is damaged (the content does not fit the "
                "checksum in the name); run without resume to train anew"
            )
        return Progress()

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("*-*-*.pt"), reverse=True)


def _restored(path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    try:
        module.load_state_dict(state.pop("weights"))
        optimizer.load_state_dict(state.pop("optimizer"))
    except (RuntimeError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path}: this checkpoint is of another model ({error}); "
            "run without resume to train anew"
        ) from error
    return Progress(**{**state, "history": json.loads(state["history"])})


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()[:16]
