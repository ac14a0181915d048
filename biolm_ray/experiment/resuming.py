"""What a run keeps of an earlier one, decided for all models before any is touched."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biolm_ray.config.schema import Config
from biolm_ray.data.store import Folder
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.experiment.storage import SETTINGS
from biolm_ray.files import read_json
from biolm_ray.models.saved import is_model_folder
from biolm_ray.models.stored_weights import OLD_WEIGHTS_FILE, WEIGHTS_FILE
from biolm_ray.results.manifest import file_digest
from biolm_ray.training.outcome import done_already

log = logging.getLogger("biolm_ray")

FREE_TO_CHANGE = {"resume", "patience", "checkpoint_minutes"}
WITHOUT_EFFECT = {"pretrained", "trust_remote_code", "allow_missing_folds"}
"""Of the model: its weights count by their content."""
MOST_BYTES = 16 << 20
MORE_EPOCHS = "more_epochs"
READABLE = {"prepared": "data set", "rows": "rows of the fold", "weights": "earlier weights"}


def read_settings(path: Path, remedy: str) -> dict[str, Any]:
    """Read what a run was begun with.

    Args:
        path: Of the file.
        remedy: What to do where it is damaged, besides putting back a copy.

    Raises:
        DataError: It is damaged.
    """
    try:
        settings = read_json(path, MOST_BYTES)
    except DataError as error:
        raise _unusable(path, str(error).removeprefix(f"{path}: "), remedy) from None
    if not isinstance(settings, dict):
        raise _unusable(path, "it holds no settings", remedy)
    return settings


def _unusable(path: Path, problem: str, remedy: str) -> DataError:
    return DataError(
        f"{path}: damaged ({problem}). It says what the results beside it were begun with; put "
        f"back a copy of it, or {remedy}"
    )


@dataclass(frozen=True)
class Earlier:
    """What an earlier run has left of a model.

    Attributes:
        settings: What it was begun with; None if it never was.
        more_epochs: The epochs it was to be trained on for, one entry each time.
        metrics: What it has reached, if it is finished.
    """

    settings: dict[str, Any] | None = None
    more_epochs: tuple[int, ...] = ()
    metrics: dict[str, float] | None = None

    @classmethod
    def of(cls, job: Any) -> "Earlier":
        path = job.folder / SETTINGS
        if not path.exists():
            return cls()
        settings = read_settings(path, "run without resume to train anew")
        more_epochs = settings.pop(MORE_EPOCHS, [])
        if not isinstance(more_epochs, list):
            raise _unusable(path, f"'{MORE_EPOCHS}' is no list", "run without resume to train anew")
        return cls(settings, tuple(more_epochs), done_already(job))


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
    settings: dict[str, Any]
    metrics: dict[str, float] | None = None
    anew: bool = True

    @property
    def replaces(self) -> bool:
        """Whether nothing of an earlier run is kept; more epochs start from its best weights."""
        return self.metrics is None and self.anew and not self.settings.get(MORE_EPOCHS)


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
    differing = differing_settings(before.settings, job_settings(job))
    if more:  # they begin with the model's own weights
        unlike = {"training.num_epochs", READABLE["weights"]}
        differing = [name for name in differing if name not in unlike]
    if not differing:
        return before
    if strict:
        raise ConfigError(
            f"{job.folder} was begun with other settings and cannot be resumed; differing: "
            f"{', '.join(differing)}. Set them back, or run without resume to train anew"
        )
    log.info("%s is trained anew, since there changed: %s", job.name, ", ".join(differing))
    return Earlier()


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
    settings = {**job_settings(job), MORE_EPOCHS: more_epochs}
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


def job_settings(job: Any) -> dict[str, Any]:
    """Collect what the weights of a job depend on, to compare with a later run."""
    config: Config = job.config
    return {
        "prepared": Folder(job.prepared).name,
        "rows": job.rows_digest,
        "task": config.task,
        "model": config.model.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        "weights": None if job.weights is None else _digest(job.weights),
        "preprocessing": config.preprocessing.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json", exclude=FREE_TO_CHANGE),
    }


def _digest(folder: Path) -> str | None:
    """Identify the weights in a model folder by their content, wherever it was moved to."""
    for path in (folder / WEIGHTS_FILE, folder / OLD_WEIGHTS_FILE):
        if path.exists():
            return file_digest(path).sha256[:16]
    return None


def differing_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name the settings in which two runs differ, by their dotted names or in plain words."""
    return sorted(READABLE.get(name, name) for name in _differences(before, now))


def _differences(before: Any, now: Any, prefix: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            name
            for key in before.keys() | now.keys()
            for name in _differences(before.get(key), now.get(key), f"{prefix}{key}.")
        ]
    return [] if before == now else [prefix.rstrip(".")]
