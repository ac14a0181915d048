"""What a training leaves in its folder: the model, its record, its rows and the mark of its end."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int, UInt64
from torch import nn

from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.errors import DataError
from biolm_ray.files import atomic_path, read_json, write_json
from biolm_ray.models.saved import CARD_FILE, ModelCard, save_model
from biolm_ray.models.stored_weights import OLD_WEIGHTS_FILE, WEIGHTS_FILE, weights_file
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_hashes import row_hashes
from biolm_ray.results.manifest import Digest, file_digest, first_misfit
from biolm_ray.tokenization.tokenizer import SETTINGS_FILE, TOKENIZER_FILE, Tokenizer
from biolm_ray.training.checkpoint import CHECKPOINTS, Progress
from biolm_ray.training.fold_tables import (
    ALL_RESULTS,
    CLASS_REPORT,
    PREDICTIONS,
    RANKS,
    as_written,
    write_results,
)
from biolm_ray.training.journal import write_state

DONE = "done.json"
MOST_BYTES = 16 << 20
ROWS = "rows.npz"
FOLD_PARTS = ("train", "validation", "test", "kept_aside")
EARLIER = "earlier"
"""Further rows: those that the weights were made with before this training."""
SEEN_PARTS = ("train", "validation", EARLIER)
NO_ROWS, NO_HASHES = np.zeros(0, np.int64), np.zeros((0, 2), np.uint64)
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


@dataclass(frozen=True)
class Done:
    """What a training says of itself when it is finished.

    Attributes:
        metrics: What it has reached.
        files: What its files held, by their names; empty in what earlier versions have written.
    """

    metrics: dict[str, float]
    files: dict[str, Digest] = field(default_factory=dict)


def mark_done(job: TrainingFolders, metrics: dict[str, float]) -> None:
    """Say that everything is written, and what; the checkpoints are no longer needed."""
    files = {name: digest.model_dump() for name, digest in _files_now(job.folder).items()}
    write_json(job.folder / DONE, {"metrics": metrics, "files": files})
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


def done_already(job: TrainingFolders) -> dict[str, float] | None:
    """Give the metrics of a training that is finished, with all its files; None for any other.

    Where its mark says that it is finished and a file does not fit, or tells other metrics, there
    is a warning.
    """
    try:
        done = read_done(job.folder)
    except ValueError as error:
        problem, done = str(error), None
    else:
        if done is None:
            return None
        problem = (
            first_misfit(job.folder, done.files)
            or _missing(job.folder, done)
            or _other_metrics(job.folder, done)
        )
    if problem is None:
        assert done is not None
        return done.metrics
    log.warning("%s does not count as finished: %s", job.folder, problem)
    return None


def read_done(folder: Path) -> Done | None:
    """Read the mark of a finished training; None where there is none.

    Raises:
        ValueError: It cannot be read.
    """
    path = folder / DONE
    if not path.exists():
        return None
    try:
        content = read_json(path, MOST_BYTES)
        if set(content) != {"metrics", "files"}:
            return Done({str(name): float(value) for name, value in content.items()})
        files = {name: Digest.model_validate(value) for name, value in content["files"].items()}
        metrics = dict(content["metrics"])
        if not all(isinstance(value, int | float) for value in metrics.values()):
            raise ValueError("a metric is no number")
        return Done(metrics, files)
    except (DataError, ValueError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged") from None


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


def _other_metrics(folder: Path, done: Done) -> str | None:
    """Say that a mark does not tell the metrics of the file whose digest it has; None if it does.

    Earlier versions have written no digests.
    """
    if not done.files:
        return None
    try:
        told = read_json(folder / ALL_RESULTS, MOST_BYTES)
    except DataError as error:
        return str(error)
    if told == as_written(done.metrics):
        return None
    return f"{folder / DONE} tells other metrics than {ALL_RESULTS}"


EarlierRows = tuple[Int[np.ndarray, " rows"], UInt64[np.ndarray, "hashes 2"]]
"""Row numbers of the data set at hand, and hashes of these and of rows of other data sets."""


def save_rows(
    folder: Path,
    prepared: PreparedData,
    fold: Fold,
    earlier: EarlierRows | None = None,
) -> None:
    """Keep which rows of which data set a model was made and tested with, and what they are.

    The hashes find them again in other data sets: in other files, or made with other columns.

    Args:
        folder: Of the model.
        prepared: The data set.
        fold: Its rows.
        earlier: Those that the weights it started from were made with.
    """
    kept: dict[str, Any] = {
        "prepared": np.array(prepared.name),
        "digest": np.array(prepared.manifest["digest"]),
    }
    for name in FOLD_PARTS:
        kept[name] = getattr(fold, name)
        kept[f"{name}_hashes"] = row_hashes(prepared, kept[name])
    if earlier is not None:
        kept[EARLIER], kept[f"{EARLIER}_hashes"] = earlier
    with atomic_path(folder / ROWS) as temporary:
        np.savez(temporary, **kept)


@dataclass(frozen=True)
class TrainedRows:
    """The rows that a model was made and tested with.

    Attributes:
        prepared: Name of the prepared data set.
        digest: Of the input's content; "" where a model does not tell.
        rows: Row numbers of each of FOLD_PARTS, and EARLIER ones.
        hashes: See `row_hashes`, in the same order; empty where a model does not tell.
    """

    prepared: str
    digest: str
    rows: Mapping[str, Int[np.ndarray, " rows"]]
    hashes: Mapping[str, UInt64[np.ndarray, "rows 2"]]

    @property
    def seen_hashes(self) -> UInt64[np.ndarray, "rows 2"]:
        """Those of the rows that the weights depend on; see SEEN_PARTS."""
        return np.concatenate([NO_HASHES, *(self.hashes[p] for p in SEEN_PARTS if self.hashes)])


def read_rows(folder: Path) -> TrainedRows | None:
    """Read what `save_rows` has kept; None where there is nothing, as in models of others.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / ROWS
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file) as stored:
            kept = {name: stored[name] for name in stored.files}
        return _as_rows(kept)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, BadZipFile):
        raise DataError(
            f"{path} is damaged; it says which rows the model has seen, so copy it again from "
            "where it was whole, or train the model again"
        ) from None


def _as_rows(kept: Mapping[str, Any]) -> TrainedRows:
    rows = {name: kept.get(name, NO_ROWS) for name in (*FOLD_PARTS, EARLIER)}
    hashes = {}
    if "train_hashes" in kept:
        hashes = {name: kept[f"{name}_hashes"] for name in FOLD_PARTS}
        hashes[EARLIER] = kept.get(f"{EARLIER}_hashes", NO_HASHES)
    if any(part.ndim != 1 or part.dtype.kind != "i" for part in rows.values()):
        raise ValueError("no row numbers")
    if any(part.shape[1:] != (2,) or part.dtype != np.uint64 for part in hashes.values()):
        raise ValueError("no hashes")
    return TrainedRows(
        prepared=str(kept["prepared"]),
        digest=str(kept["digest"]) if hashes else "",
        rows=rows,
        hashes=hashes,
    )
