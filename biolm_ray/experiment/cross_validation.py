"""Train every fold, skipping or continuing what an earlier run has left."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.experiment.failures import Outcome
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.progress import Display
from biolm_ray.experiment.resuming import Plan, plan_jobs
from biolm_ray.experiment.running import run_jobs
from biolm_ray.experiment.storage import SETTINGS
from biolm_ray.experiment.trainer import TRAIN_STATE
from biolm_ray.records import write_record
from biolm_ray.training.checkpoint import CHECKPOINTS
from biolm_ray.training.fold import FoldJob, train_fold
from biolm_ray.training.outcome import DONE
from biolm_ray.wording import part_of

log = logging.getLogger("biolm_ray")


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


Begin = Callable[[Sequence[Plan]], Sequence[Plan]]
"""Makes room for models that are to be trained, once it is decided which; may change their jobs."""


def train_folds(
    jobs: Sequence[FoldJob],
    placement: Placement,
    display: Display,
    resume: bool | int | str,
    begin: Begin | None = None,
) -> list[Outcome]:
    """Train the folds and give the outcome of each, in order."""
    return train_jobs(jobs, train_fold, placement, display, resume, begin)


def train_jobs(
    jobs: Sequence[Any],
    work: Callable[..., dict[str, float]],
    placement: Placement,
    display: Display,
    resume: bool | int | str,
    begin: Begin | None = None,
) -> list[Outcome]:
    """Train models side by side, after deciding what of an earlier run is kept.

    Args:
        jobs: The models.
        work: What trains one.
        placement: Of the workers.
        display: Shows how it goes.
        resume: See `plan_jobs`.
        begin: Called before anything is touched.

    Raises:
        ConfigError: There is nothing to resume, or it was begun with other settings.
    """
    plans: Sequence[Plan] = plan_jobs(jobs, resume)
    plans = plans if begin is None else begin(plans)
    missing = [plan for plan in plans if plan.metrics is None]
    if len(missing) < len(plans):
        models = part_of(len(plans) - len(missing), len(plans), "model")
        log.info("%s finished already", models)
    for plan in missing:
        if beginning := plan.beginning:
            log.info("%s", beginning)
        _begin(plan)
        if more_epochs := plan.settings.more_epochs:
            display.num_epochs = more_epochs[-1]
    outcomes = {
        outcome.job.name: outcome
        for outcome in run_jobs([plan.job for plan in missing], work, placement, display)
    }
    return [outcomes.get(plan.job.name) or Outcome(plan.job, plan.metrics) for plan in plans]


def _begin(plan: Plan) -> None:
    """Write down what a model is trained with, after forgetting an earlier run if need be.

    Its results stay until new ones replace them. In this order: broken off at any point, what is
    left is either the earlier run or the new one.
    """
    job = plan.job
    if plan.anew:
        for folder in (job.folder / CHECKPOINTS, job.folder / TRAIN_STATE, job.board):
            shutil.rmtree(folder, ignore_errors=True)
        (job.folder / DONE).unlink(missing_ok=True)
    write_record(job.folder / SETTINGS, plan.settings)
