"""What a training leaves in its folder: the model, its record, its rows and the mark of its end."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int, UInt64
from torch import nn

from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.files import atomic_path, write_json
from biolm_ray.models.saved import ModelCard, save_model
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_hashes import row_hashes
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.checkpoint import CHECKPOINTS, Progress
from biolm_ray.training.fold_tables import write_results
from biolm_ray.training.journal import write_state

DONE = "done.json"
ROWS = "rows.npz"
FOLD_PARTS = ("train", "validation", "test", "kept_aside")


class TrainingFolders(Protocol):
    """Where the results and the TensorBoard events of a training go, and what it was set to."""

    @property
    def config(self) -> Config: ...

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
) -> None:
    """Write the model folder, its epochs and the metrics."""
    save_model(job.folder, module, card, tokenizer, job.config.model.plugin)
    write_state(job.folder, progress)
    write_results(job.folder, metrics)


def mark_done(job: TrainingFolders, metrics: dict[str, float]) -> None:
    """Say that everything is written; the checkpoints are no longer needed."""
    write_json(job.folder / DONE, metrics)
    shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)


def done_already(job: TrainingFolders) -> dict[str, float] | None:
    """Give the metrics of a training that is finished; None for any other."""
    path = job.folder / DONE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save_rows(folder: Path, prepared: PreparedData, fold: Fold) -> None:
    """Keep which rows of which data set a model was made and tested with, and what they are.

    The hashes find them again in other data sets: in other files, or made with other columns.
    """
    kept: dict[str, Any] = {
        "prepared": np.array(prepared.name),
        "digest": np.array(prepared.manifest["digest"]),
    }
    for name in FOLD_PARTS:
        kept[name] = getattr(fold, name)
        kept[f"{name}_hashes"] = row_hashes(prepared, kept[name])
    with atomic_path(folder / ROWS) as temporary:
        np.savez(temporary, **kept)


@dataclass(frozen=True)
class TrainedRows:
    """The rows that a model was made and tested with.

    Attributes:
        prepared: Name of the prepared data set.
        digest: Of the input's content; "" where a model does not tell.
        rows: Row numbers of each of FOLD_PARTS.
        hashes: See `row_hashes`, in the same order; empty where a model does not tell.
    """

    prepared: str
    digest: str
    rows: Mapping[str, Int[np.ndarray, " rows"]]
    hashes: Mapping[str, UInt64[np.ndarray, "rows 2"]]


def read_rows(folder: Path) -> TrainedRows | None:
    """Read what `save_rows` has kept; None where there is nothing, as in models of others."""
    path = folder / ROWS
    if not path.exists():
        return None
    with np.load(path) as stored:
        nothing, has_hashes = np.zeros(0, np.int64), "train_hashes" in stored
        return TrainedRows(
            prepared=str(stored["prepared"]),
            digest=str(stored["digest"]) if has_hashes else "",
            rows={name: stored.get(name, nothing) for name in FOLD_PARTS},
            hashes={name: stored[f"{name}_hashes"] for name in FOLD_PARTS} if has_hashes else {},
        )
