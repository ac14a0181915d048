"""What a training leaves in its folder: the model, its record and the mark of its end."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field
from torch import nn

from biolm_ray.config.schema import Config
from biolm_ray.errors import DataError
from biolm_ray.models.card import CARD_FILE, ModelCard
from biolm_ray.models.saved import save_model
from biolm_ray.models.stored_weights import OLD_WEIGHTS_FILE, WEIGHTS_FILE, weights_file
from biolm_ray.records import VERSION_KEY, RecordFile, find_record, write_record
from biolm_ray.results.manifest import Digest, Files, file_digest, first_misfit
from biolm_ray.tokenization.tokenizer import SETTINGS_FILE, TOKENIZER_FILE, Tokenizer
from biolm_ray.training.checkpoint import CHECKPOINTS, Progress
from biolm_ray.training.fold_tables import (
    ALL_RESULTS,
    CLASS_REPORT,
    PREDICTIONS,
    RANKS,
    as_written,
    read_results,
    write_results,
)
from biolm_ray.training.journal import write_state
from biolm_ray.training.trained_rows import ROWS

DONE = "done.json"
REMEDY = "put back a copy of it, or train the model again"
MODEL_FILES = (WEIGHTS_FILE, OLD_WEIGHTS_FILE, CARD_FILE, TOKENIZER_FILE, SETTINGS_FILE)
"""What predictions depend on."""
TABLES = ("*_results.json", "trainer_state.json", PREDICTIONS, f"{RANKS}*.csv", CLASS_REPORT, ROWS)
"""Patterns of the other files that a finished training has."""

log = logging.getLogger("biolm_ray")


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


class Done(RecordFile):
    """What a training says of itself when it is finished.

    Attributes:
        metrics: What it has reached.
        files: What its files held, by their names; empty in what earlier versions have written.
    """

    metrics: dict[str, float]
    files: Files = Field(default_factory=dict)

    @classmethod
    def as_today(cls, values: Any) -> Any:
        """The first marks held the metrics, the epoch among them, and nothing else."""
        if isinstance(values, dict) and VERSION_KEY not in values and "epoch" in values:
            return {"metrics": values}
        return values


def mark_done(job: TrainingFolders, metrics: dict[str, float]) -> None:
    """Say that everything is written, and what; the checkpoints are no longer needed."""
    write_record(job.folder / DONE, Done(metrics=metrics, files=_files_now(job.folder)))
    shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)


def _files_now(folder: Path) -> dict[str, Digest]:
    names = [name for name in MODEL_FILES if (folder / name).exists()]
    names += sorted(path.name for pattern in TABLES for path in folder.glob(pattern))
    return {name: file_digest(folder / name) for name in names}


def files_of(folder: Path) -> dict[str, Digest]:
    """Give the files of a finished training, with the mark itself, for the manifest.

    Those that an earlier version has finished count as they are now.
    """
    done = read_done(folder)
    assert done is not None, "only finished trainings are asked for"
    return (done.files or _files_now(folder)) | {DONE: file_digest(folder / DONE)}


def read_done(folder: Path) -> Done | None:
    """Read the mark of a finished training; None where there is none.

    Raises:
        DataError: It is damaged.
    """
    return find_record(folder / DONE, Done, REMEDY)


def done_already(job: TrainingFolders) -> dict[str, float] | None:
    """Give the metrics of a training that is finished, with all its files; None for any other.

    Where its mark says that it is finished and a file does not fit, or tells other metrics, there
    is a warning.
    """
    try:
        done = read_done(job.folder)
        if done is None:
            return None
        problem = _missing(job.folder, done) or first_misfit(job.folder, done.files)
        if problem is None:
            _check_metrics(job.folder, done)
            return done.metrics
    except DataError as error:
        problem = str(error)
    log.warning("%s does not count as finished: %s", job.folder, problem)
    return None


def why_unfinished(folder: Path, files: Mapping[str, Digest]) -> str | None:
    """Say why what predictions depend on is not as a training has left it; None if it is.

    Args:
        folder: Of the model.
        files: What the manifest says of its files; where it says nothing, the mark counts.
    """
    if not files:
        try:
            done = read_done(folder)
        except DataError as error:
            return str(error)
        if done is None or WEIGHTS_FILE not in done.files:
            return f"{folder} holds no finished model"
        files = done.files
    return first_misfit(
        folder, {name: files[name] for name in (*MODEL_FILES, ROWS) if name in files}
    )


def _missing(folder: Path, done: Done) -> str | None:
    """Name a file that a finished training must have and this one has not, or has not vouched for.

    Earlier versions have written no digests: there the files have to be in place.
    """
    if done.files:
        names = [name for name in (WEIGHTS_FILE, CARD_FILE, ALL_RESULTS) if name not in done.files]
        return f"{folder / DONE} does not name {names[0]}" if names else None
    names = [CARD_FILE, ALL_RESULTS]
    if done.metrics.get("test_samples"):
        names.append(PREDICTIONS)
    if weights_file(folder) is None:
        names.insert(0, WEIGHTS_FILE)
    missing = [name for name in names if not (folder / name).is_file()]
    return f"{folder / missing[0]} is missing" if missing else None


def _check_metrics(folder: Path, done: Done) -> None:
    """Make sure that a mark tells the metrics of the file whose digest it has.

    Earlier versions have written no digests.

    Raises:
        DataError: It does not, or the file is damaged.
    """
    if done.files and read_results(folder) != as_written(done.metrics):
        raise DataError(f"{folder / DONE} tells other metrics than {ALL_RESULTS}")
