"""What a run keeps of an earlier one, decided for all models before any is touched."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biolm_ray.config.schema import Config
from biolm_ray.errors import ConfigError
from biolm_ray.experiment.begun import (
    READABLE,
    Difference,
    TrainingSettings,
    differences,
    job_settings,
    settings_of_now,
)
from biolm_ray.experiment.storage import SETTINGS
from biolm_ray.models.saved import is_model_folder
from biolm_ray.records import find_record
from biolm_ray.training.checkpoint import newest_steps
from biolm_ray.training.outcome import done_already

log = logging.getLogger("biolm_ray")

REMEDY = (
    "it says what the results beside it were begun with: put back a copy of it, or remove it to "
    "have this model trained from the start"
)


@dataclass(frozen=True)
class Earlier:
    """What an earlier run has left of a model.

    Attributes:
        settings: What it was begun with; None if it never was.
        metrics: What it has reached, if it is finished.
    """

    settings: TrainingSettings | None = None
    metrics: dict[str, float] | None = None

    @classmethod
    def of(cls, job: Any) -> "Earlier":
        settings = find_record(job.folder / SETTINGS, TrainingSettings, REMEDY)
        return cls() if settings is None else cls(settings, done_already(job))

    @property
    def more_epochs(self) -> tuple[int, ...]:
        """The epochs it was to be trained on for, one entry each time."""
        return () if self.settings is None else self.settings.more_epochs


@dataclass(frozen=True)
class Plan:
    """What is to be done about a model.

    Attributes:
        job: How it is to be trained.
        settings: What is to be kept, to compare with a later run.
        metrics: What it has reached, if nothing is to be done.
        anew: Whether to forget how far an earlier run came.
    """

    job: Any
    settings: TrainingSettings
    metrics: dict[str, float] | None = None
    anew: bool = True

    @property
    def beginning(self) -> str | None:
        """Say where an interrupted training goes on; None where nothing was interrupted."""
        if self.anew or self.metrics is not None:
            return None
        reached = newest_steps(self.job.folder)
        if reached is None:
            return f"{self.job.name} has no checkpoint yet and begins from the start"
        epochs, steps = reached
        after = f"after epoch {epochs}" if epochs else ""
        within = f"after step {steps} of epoch {epochs + 1}" if steps else ""
        return f"{self.job.name} goes on {within or after}"

    @property
    def replaces(self) -> bool:
        """Whether nothing of an earlier run is kept; more epochs start from its best weights."""
        return self.metrics is None and self.anew and not self.settings.more_epochs


def plan_jobs(jobs: Sequence[Any], resume: bool | int | str) -> list[Plan]:
    """Decide what becomes of each job.

    Without `resume` every model starts anew. With True, finished ones are kept and interrupted
    ones continued, and changed settings refused; "auto" trains anew where settings changed. A
    number trains the finished models for that many more epochs from their best weights; given
    again after an interruption, it continues that.

    Raises:
        ConfigError: There is nothing to resume, or it was begun with other settings.
    """
    if resume is False:
        return [Plan(job, job_settings(job)) for job in jobs]
    asked = resume if isinstance(resume, int) and resume is not True else None
    earlier = [_fitting(job, strict=resume != "auto", more=asked is not None) for job in jobs]
    more_epochs = max((each.more_epochs for each in earlier), key=len)
    if asked is not None:
        more_epochs = _more_epochs(jobs, earlier, more_epochs, asked)
    return [_plan(job, before, more_epochs) for job, before in zip(jobs, earlier, strict=True)]


def _fitting(job: Any, *, strict: bool, more: bool) -> Earlier:
    """Give what is left of a job if it was begun with the settings of now, else nothing."""
    before = Earlier.of(job)
    if before.settings is None:
        return before
    differing = differences(before.settings, job_settings(job))
    if more:  # they begin with the model's own weights
        unlike = {"training.num_epochs", READABLE["weights"]}
        differing = [each for each in differing if each.name not in unlike]
    if not differing:
        return before
    if strict:
        raise _begun_otherwise(job.folder, differing)
    log.info(
        "%s is trained from the start, since these settings changed: %s",
        job.name,
        "; ".join(map(str, differing)),
    )
    return Earlier()


def _begun_otherwise(folder: Path, differing: Sequence[Difference]) -> ConfigError:
    return ConfigError(
        f"{folder} was begun with other settings and cannot be resumed; differing: "
        f"{'; '.join(map(str, differing))}. Set them back, or run without resume to train from the "
        "start"
    )


def check_resumable(config: Config) -> None:
    """Compare a run's settings with those its models were begun with, before its data are read.

    What needs the data is compared by `plan_jobs`, model by model. Folders of folds that are no
    more may lie there, too; so all must differ.

    Raises:
        ConfigError: They differ, and the run is to be resumed.
    """
    if config.training.resume is not True:
        return
    folder = Path(config.output_path) / config.mode
    found = []
    for path in sorted([*folder.glob(SETTINGS), *folder.glob(f"*/{SETTINGS}")]):
        before = find_record(path, TrainingSettings, REMEDY)
        if before is not None:
            found.append((path.parent, differences(before, settings_of_now(before, config))))
    if found and all(differing for _, differing in found):
        raise _begun_otherwise(*found[0])


def _more_epochs(
    jobs: Sequence[Any], earlier: list[Earlier], so_far: tuple[int, ...], asked: int
) -> tuple[int, ...]:
    """Add what is asked for, unless it was asked for before and is not finished."""
    if so_far and any(each.metrics is None or each.more_epochs != so_far for each in earlier):
        if so_far[-1] != asked:
            raise ConfigError(
                f"training for {so_far[-1]} more epochs was broken off; finish it first, with "
                "resume without a number, before training for "
                f"{asked} more"
            )
        return so_far
    for job, before in zip(jobs, earlier, strict=True):
        begun = before.settings is not None
        if not is_model_folder(job.folder) or (begun and before.metrics is None):
            raise ConfigError(
                f"resume asks for more epochs, but {job.folder} holds no trained model; "
                "train it first, or use resume without a number"
            )
    return (*so_far, asked)


def _plan(job: Any, before: Earlier, more_epochs: tuple[int, ...]) -> Plan:
    settings = job_settings(job).model_copy(update={"more_epochs": more_epochs})
    begun = before.settings is not None and before.more_epochs == more_epochs
    if begun and before.metrics is not None:
        return Plan(job, settings, metrics=before.metrics)
    if more_epochs:
        job = _from_best(job, more_epochs[-1])
    return Plan(job, settings, anew=not begun)


def _from_best(job: Any, num_epochs: int) -> Any:
    """Start from the job's own best weights instead of fresh ones."""
    training = job.config.training.model_copy(update={"resume": num_epochs})
    config = job.config.model_copy(update={"training": training})
    return replace(job, weights=job.folder, config=config)
