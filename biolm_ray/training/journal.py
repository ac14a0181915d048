"""The record of a training as it goes: steps as CSV, curves for TensorBoard, epochs as JSON."""

import csv
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat
from tensorboardX import SummaryWriter

from biolm_ray.files import write_json, write_text
from biolm_ray.records import RecordFile, read_record
from biolm_ray.shortages import shortage_as_error
from biolm_ray.training.checkpoint import Progress

STEPS = "steps.csv"
TRAINER_STATE = "trainer_state.json"
COLUMNS = ("epoch", "step", "loss", "learning_rate", "gradient_norm", "rows", "seconds")
CURVES = ("loss", "learning_rate", "gradient_norm")


class Journal:
    """Writes down what the first worker of a training does.

    A training that goes on from a checkpoint forgets the steps after it, since they come again.

    Args:
        folder: Of the results; `steps.csv` has a row per step, epochs and steps counted from 1.
        board: Of the TensorBoard events: `train_loss`, `eval_loss` and so on by epoch, `step/loss`
            and so on by step.
        progress: What the checkpoint holds.
        num_steps: Steps of an epoch.
    """

    def __init__(self, folder: Path, board: Path, progress: Progress, num_steps: int) -> None:
        self._path, self._num_steps = folder / STEPS, num_steps
        kept = self._read_back(progress.epochs * num_steps + progress.steps)
        write_text(self._path, "".join(",".join(line) + "\n" for line in (COLUMNS, *kept)))
        self._file = self._path.open("a", encoding="utf-8", newline="")
        self._lines = csv.writer(self._file, lineterminator="\n")
        shutil.rmtree(board, ignore_errors=True)
        self._board = SummaryWriter(str(board))
        for line in kept:
            self._draw_step({name: float(value) for name, value in zip(COLUMNS, line, strict=True)})
        for number, values in enumerate(progress.history, 1):
            self._draw_epoch(number, values)

    def step(self, **values: float) -> None:
        """Write down a step; `values` are the columns of the file."""
        self._lines.writerow([_short(values[name]) for name in COLUMNS])
        self._draw_step(values)

    def epoch(self, number: int, values: dict[str, float]) -> None:
        """Write down an epoch, counted from 1."""
        self._draw_epoch(number, values)
        self.flush()

    def flush(self) -> None:
        """Put everything on the disk; called before a checkpoint that counts on it.

        Raises:
            ResourceError: The disk is full.
        """
        with shortage_as_error(self._path):
            self._file.flush()

    def close(self) -> None:
        self.flush()
        self._file.close()
        self._board.close()

    def _read_back(self, num_lines: int) -> list[list[str]]:
        if not num_lines or not self._path.exists():
            return []
        with self._path.open(encoding="utf-8", newline="") as file:
            lines = islice(csv.reader(file), 1, num_lines + 1)
            return [line for line in lines if len(line) == len(COLUMNS)]

    def _draw_step(self, values: dict[str, Any]) -> None:
        number = int((values["epoch"] - 1) * self._num_steps + values["step"])
        for name in CURVES:
            self._board.add_scalar(f"step/{name}", values[name], number)

    def _draw_epoch(self, number: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, number)


def write_state(folder: Path, progress: Progress) -> None:
    """Write `trainer_state.json`, which users' scripts and `TrainerState.load_from_json` read.

    It has no key that transformers does not know; the best epoch stands in `all_results.json`.
    `log_history` has two entries for each epoch: of its training, with the mean loss, and of its
    validation. Steps are counted over all epochs; `steps.csv` beside it holds every one of them.
    """
    last_steps = _last_steps(folder / STEPS)
    num_steps, history = 0, []
    for epoch, values in enumerate(progress.history, 1):
        last = last_steps.get(epoch, {})
        num_steps += int(last.get("step", 0))
        of_both = {"epoch": float(epoch), "step": num_steps}
        rates = {"learning_rate": "learning_rate", "grad_norm": "gradient_norm"}
        trained = {name: last[column] for name, column in rates.items() if column in last}
        judged = {name: value for name, value in values.items() if name != "train_loss"}
        history.append({**of_both, "loss": values["train_loss"], **trained})
        if judged:
            history.append({**of_both, **judged})
    write_json(
        folder / TRAINER_STATE,
        {
            "epoch": float(progress.epochs),
            "global_step": num_steps,
            "best_metric": progress.best,
            "log_history": history,
        },
    )


class EpochEntry(BaseModel):
    """What is written of the training or the validation of an epoch."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, float | None]

    epoch: FiniteFloat

    @property
    def values(self) -> dict[str, float | None]:
        """All that stands there besides the epoch, by its name."""
        return self.__pydantic_extra__


class TrainerState(RecordFile):
    """`trainer_state.json`: its form is that of transformers, which has no `format_version`."""

    model_config = ConfigDict(extra="ignore")

    log_history: tuple[EpochEntry, ...]


def read_state(folder: Path) -> TrainerState:
    """Read the epochs of a training.

    Raises:
        DataError: They are missing or damaged.
    """
    remedy = "put back a copy of it, or train the model again"
    return read_record(folder / TRAINER_STATE, TrainerState, remedy)


def _last_steps(path: Path) -> dict[int, dict[str, float]]:
    """Read the last step of each epoch."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            int(row["epoch"]): {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        }


def _short(value: float) -> str:
    return f"{value:.8g}"
