"""What a training leaves in its folder: the model, its record, its rows and the mark of its end."""

import json
import shutil
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn

from biolm_ray.data.splits import Fold
from biolm_ray.files import atomic_path, write_json
from biolm_ray.models.saved import ModelCard, save_model
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.checkpoint import CHECKPOINTS, Progress
from biolm_ray.training.fold_tables import write_results
from biolm_ray.training.journal import write_state

DONE = "done.json"
ROWS = "rows.npz"


class TrainingFolders(Protocol):
    """Where the results and the TensorBoard events of a training go."""

    @property
    def folder(self) -> Path: ...

    @property
    def board(self) -> Path: ...


def save_training(
    job: TrainingFolders,
    module: nn.Module,
    card: ModelCard,
    tokenizer: Tokenizer,
    progress: Progress,
    metrics: dict[str, float],
    stop_metric: str,
) -> None:
    """Write the model folder, its epochs and the metrics."""
    save_model(job.folder, module, card, tokenizer)
    write_state(job.folder, progress, stop_metric)
    write_results(job.folder, metrics)


def mark_done(job: TrainingFolders, metrics: dict[str, float]) -> None:
    """Say that everything is written; the checkpoints are no longer needed."""
    write_json(job.folder / DONE, metrics)
    shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)


def done_already(job: TrainingFolders) -> dict[str, float] | None:
    """Give the metrics of a training that is finished; None for any other."""
    path = job.folder / DONE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save_rows(folder: Path, prepared: str, fold: Fold) -> None:
    """Keep which rows of which prepared data set (by name) a model was made and tested with."""
    with atomic_path(folder / ROWS) as temporary:
        np.savez(
            temporary,
            prepared=np.array(prepared),
            train=fold.train,
            validation=fold.validation,
            test=fold.test,
            kept_aside=fold.kept_aside,
        )


def rows_of(folder: Path, prepared: str) -> Fold | None:
    """Give the rows a model was made with; None if it was made with another data set."""
    path = folder / ROWS
    if not path.exists():
        return None
    with np.load(path) as stored:
        if str(stored["prepared"]) != prepared:
            return None
        return Fold(
            index=0,
            name=folder.name,
            train=stored["train"],
            validation=stored["validation"],
            test=stored["test"],
            **({"kept_aside": stored["kept_aside"]} if "kept_aside" in stored else {}),
        )
