"""Train every fold, skipping or continuing what an earlier run has left."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.data.store import Folder
from biolm_ray.errors import ConfigError
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.progress import Display
from biolm_ray.experiment.running import TRAIN_STATE, Outcome, run_jobs
from biolm_ray.files import write_json
from biolm_ray.models.saved import is_model_folder
from biolm_ray.training.fold import FoldJob, train_fold
from biolm_ray.training.loop import CHECKPOINTS
from biolm_ray.training.outcome import DONE, done_already

log = logging.getLogger("biolm_ray")

SETTINGS = "training_settings.json"
FREE_TO_CHANGE = {"resume", "patience", "checkpoint_minutes"}


def fold_jobs(
    config: Config,
    folds: Sequence[Fold],
    *,
    prepared: str,
    tokenizer: Path,
    folder: Path,
    weights: Path | None,
) -> list[FoldJob]:
    """Lay out one job per fold, with results in `<folder>/<fold>/`, curves in `tboard/<fold>/`."""
    return [
        FoldJob(
            config=config,
            prepared=prepared,
            tokenizer=tokenizer,
            fold=fold,
            folder=folder / fold.name,
            board=folder / "tboard" / fold.name,
            weights=weights,
        )
        for fold in folds
    ]


def train_folds(
    jobs: Sequence[FoldJob], placement: Placement, display: Display, resume: bool | int | str
) -> list[Outcome]:
    """Train the folds and give the outcome of each, in order."""
    return train_jobs(jobs, train_fold, placement, display, resume)


def train_jobs(
    jobs: Sequence[Any],
    work: Callable[..., dict[str, float]],
    placement: Placement,
    display: Display,
    resume: bool | int | str,
) -> list[Outcome]:
    """Train models side by side, after deciding what of an earlier run is kept.

    Without `resume` every model starts anew. With True, finished ones are kept and interrupted
    ones continued, and changed settings refused; "auto" trains anew where settings changed. A
    number trains the finished models for that many more epochs.

    Raises:
        ConfigError: There is nothing to resume, or it was begun with other settings.
    """
    finished: dict[str, dict[str, float]] = {}
    missing = []
    for job in jobs:
        metrics = None
        if resume is True or resume == "auto":
            metrics = _keep_what_fits(job, strict=resume is True)
        else:
            job = _begin_anew(job) if resume is False else _continue_from_best(job)
        if metrics is None:
            write_json(job.folder / SETTINGS, job_settings(job))
            missing.append(job)
        else:
            finished[job.name] = metrics
    if finished:
        log.info("%d of %d models are finished already", len(finished), len(jobs))
    outcomes = {
        outcome.job.name: outcome for outcome in run_jobs(missing, work, placement, display)
    }
    return [outcomes.get(job.name) or Outcome(job, finished[job.name]) for job in jobs]


def job_settings(job: Any) -> dict[str, Any]:
    """Collect what the weights of a job depend on, to compare with a later run."""
    config: Config = job.config
    return {
        "prepared": Folder(job.prepared).name,
        "rows": job.rows_digest,
        "task": config.task,
        "model": config.model.model_dump(mode="json", exclude={"pretrained"}),
        "preprocessing": config.preprocessing.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json", exclude=FREE_TO_CHANGE),
    }


def _keep_what_fits(job: Any, *, strict: bool) -> dict[str, float] | None:
    """Give the metrics of a finished job, None for one that is to be begun or continued."""
    path = job.folder / SETTINGS
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        differing = differing_settings(before, job_settings(job))
        if differing and strict:
            raise ConfigError(
                f"{job.folder} was begun with other settings and cannot be resumed; differing: "
                f"{', '.join(differing)}. Set them back, or run without resume to train anew"
            )
        if not differing:
            return done_already(job)
    _begin_anew(job)
    return None


def differing_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name the settings in which two runs differ, by their dotted names."""
    return sorted(_differences(before, now))


def _differences(before: Any, now: Any, prefix: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            name
            for key in before.keys() | now.keys()
            for name in _differences(before.get(key), now.get(key), f"{prefix}{key}.")
        ]
    return [] if before == now else [prefix.rstrip(".")]


def _begin_anew(job: Any) -> Any:
    """Forget how far an earlier run came; its results stay until new ones replace them."""
    for path in (job.folder / DONE, job.folder / SETTINGS):
        path.unlink(missing_ok=True)
    for folder in (job.folder / CHECKPOINTS, job.folder / TRAIN_STATE, job.board):
        shutil.rmtree(folder, ignore_errors=True)
    return job


def _continue_from_best(job: Any) -> Any:
    """Start from the job's own best weights instead of fresh ones."""
    if not is_model_folder(job.folder):
        raise ConfigError(
            f"resume asks for more epochs, but {job.folder} holds no trained model; "
            "train it first, or use resume without a number"
        )
    return replace(_begin_anew(job), weights=job.folder)
