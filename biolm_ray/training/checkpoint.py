"""The state of an interrupted training, in files that are whole, or known not to be."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from biolm_ray.errors import TrainingError
from biolm_ray.files import atomic_path
from biolm_ray.records import VERSION_KEY
from biolm_ray.training.checkpoint_state import (
    Counters,
    OfAnotherModel,
    State,
    Unusable,
    read_state,
)

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
        self._left_out: list[Path] = []

    def save(
        self, progress: Progress, module: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Write the state of a training, then remove all but the newest files.

        Raises:
            ResourceError: The disk is full; what was written before stays.
        """
        state = {
            VERSION_KEY: Counters.LATEST_VERSION,
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
        # Those left out would pass for newer than what follows the one before them. They go first:
        # the same steps, taken again, may lead to the same name.
        while self._left_out:
            _remove(self._left_out.pop())
        name = f"{progress.epochs:06d}-{progress.steps:09d}-{_checksum(written)}.pt"
        written.replace(self._folder / name)
        for path in self._newest_first()[NUM_KEPT:]:
            _remove(path)

    def restore(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, num_steps: int
    ) -> Progress:
        """Put the newest state that is whole and fits into module and optimizer.

        Nothing is put there before all of a state is known to fit. Without files it is the
        beginning, as it is where the very first file is damaged.

        Args:
            module: As it begins.
            optimizer: Of its parameters.
            num_steps: Steps of an epoch.

        Raises:
            TrainingError: Neither of two files can be used, or the model is another one.
        """
        paths, problems = self._newest_first(), []
        for path in paths:
            try:
                _check_sum(path)
                state = read_state(path, module, optimizer, num_steps)
            except Unusable as problem:
                problems.append(problem)
                self._left_out.append(path)
                continue
            for left_out, problem in zip(paths, problems, strict=False):
                self._note(f"{left_out} is damaged ({problem}); it is left out")
            return _put_back(state, module, optimizer)
        other = next((each for each in problems if isinstance(each, OfAnotherModel)), None)
        if other is not None:
            raise TrainingError(
                f"{paths[problems.index(other)]}: this checkpoint is of another model ({other}); "
                "run without resume to train from the start"
            )
        if len(paths) >= NUM_KEPT:
            raise TrainingError(
                f"{self._folder}: every checkpoint is damaged ({paths[0].name}: {problems[0]}); "
                "run without resume to train from the start"
            )
        for path, problem in zip(paths, problems, strict=True):
            self._note(f"{path} is damaged ({problem}); it is left out")
        return Progress()

    def _newest_first(self) -> list[Path]:
        return _newest_first(self._folder)


def newest_steps(folder: Path) -> tuple[int, int] | None:
    """Give the epochs and further steps that a model's newest checkpoint follows, by its name.

    Whether the file is whole is found out where it is read. None where there is none.
    """
    for path in _newest_first(folder / CHECKPOINTS):
        epochs, steps, _ = path.stem.split("-", 2)
        if epochs.isdecimal() and steps.isdecimal():
            return int(epochs), int(steps)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*-*.pt"), reverse=True)


def _put_back(state: State, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    module.load_state_dict(state.weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state.moments, "param_groups": groups})
    counters = state.counters.model_dump(exclude={VERSION_KEY, "history"})
    history = [dict(epoch) for epoch in state.counters.history]
    return Progress(**counters, history=history, best_weights=state.best_weights)


def _check_sum(path: Path) -> None:
    """Make sure that a file is as it was written.

    Raises:
        Unusable: It is not.
    """
    try:
        # A pipe would be waited for.
        if not path.is_file():
            raise Unusable("it is no file")
        if path.stem.rpartition("-")[2] != _checksum(path):
            raise Unusable("its content does not fit the checksum in its name")
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror or error}") from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()[:16]
