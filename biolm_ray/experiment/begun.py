"""What a training or a search was begun with, written beside its results to compare with later."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from biolm_ray.config.legacy import KEYS
from biolm_ray.config.schema import (
    Config,
    ModelConfig,
    PreprocessingConfig,
    Section,
    SplitsConfig,
    TrainingConfig,
    TuneConfig,
)
from biolm_ray.data.store import Folder
from biolm_ray.models.stored_weights import OLD_WEIGHTS_FILE, WEIGHTS_FILE
from biolm_ray.records import RecordFile
from biolm_ray.results.manifest import file_digest

FREE_TO_CHANGE = {"resume", "patience", "checkpoint_minutes"}
WITHOUT_EFFECT = {"pretrained", "trust_remote_code", "allow_missing_folds"}
"""Of the model: its weights count by their content."""
READABLE = {"prepared": "data set", "rows": "rows of the fold", "weights": "earlier weights"}
SECTIONS: Mapping[str, type[Section]] = {
    "model": ModelConfig,
    "preprocessing": PreprocessingConfig,
    "splits": SplitsConfig,
    "training": TrainingConfig,
    "tune": TuneConfig,
}
"""Sections of the configuration that are compared, setting by setting."""

NOT_COMPARED = {"format_version", "more_epochs"}

Settings = dict[str, Any]


class TrainingSettings(RecordFile):
    """What the weights of a model depend on.

    Attributes:
        prepared: Name of the data set.
        rows: Digest of the rows of the fold.
        task: Of the run; None where it trains a language model.
        weights: Digest of those it started from.
        more_epochs: The epochs it was to be trained on for, one entry each time.
    """

    prepared: str
    rows: str
    task: str | None
    model: Settings
    weights: str | None
    preprocessing: Settings
    training: Settings
    more_epochs: tuple[int, ...] = ()


class SearchSettings(RecordFile):
    """What the trials of a search depend on."""

    prepared: str
    task: str | None
    preprocessing: Settings
    splits: Settings
    model: Settings
    training: Settings
    tune: Settings = Field(default_factory=dict)


def job_settings(job: Any) -> TrainingSettings:
    """Collect what the weights of a job depend on, to compare with a later run."""
    config: Config = job.config
    return TrainingSettings(
        prepared=Folder(job.prepared).name,
        rows=job.rows_digest,
        weights=None if job.weights is None else _digest(job.weights),
        **_parts_of(config),
    )


def settings_of_now(before: TrainingSettings, config: Config) -> TrainingSettings:
    """Put what a run's configuration says in the place of what a model was begun with."""
    return before.model_copy(update=_parts_of(config))


def _parts_of(config: Config) -> dict[str, Any]:
    return {
        "task": config.task,
        "model": config.model.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        "preprocessing": config.preprocessing.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json", exclude=FREE_TO_CHANGE),
    }


def _digest(folder: Path) -> str | None:
    """Identify the weights in a model folder by their content, wherever it was moved to."""
    for path in (folder / WEIGHTS_FILE, folder / OLD_WEIGHTS_FILE):
        if path.exists():
            return file_digest(path).sha256[:16]
    return None


def search_settings(config: Config, prepared: str) -> SearchSettings:
    """Collect what the trials of a search depend on, to compare with a later run.

    Args:
        config: Of the run.
        prepared: Location of the data set as it prepares it.
    """
    return SearchSettings(
        prepared=Folder(prepared).name,
        task=config.task,
        preprocessing=config.preprocessing.model_dump(mode="json"),
        splits=config.splits.model_dump(mode="json"),
        # Weights count here by the folder that names them.
        model=config.model.model_dump(mode="json", exclude=WITHOUT_EFFECT - {"pretrained"}),
        training=config.training.model_dump(mode="json", exclude=FREE_TO_CHANGE),
        tune=config.tune.model_dump(mode="json", include={"space", "metric"}),
    )


@dataclass(frozen=True)
class Difference:
    """A setting in which two runs differ, and its values; as a text it is one for the user.

    Attributes:
        name: Its dotted name, or in plain words what is no setting.
        before, now: None where it was not set.
    """

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        if self.name in READABLE.values():
            return self.name
        keys = [key for key, old in KEYS.items() if old.names == (self.name,)]
        flag = f" (--{keys[0]})" if keys else ""
        return f"{self.name}{flag} is {_shown(self.now)}, was {_shown(self.before)}"


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def differences(before: RecordFile, now: RecordFile) -> list[Difference]:
    """List the settings in which two runs differ, by name.

    Args:
        before: Of the first, in the form in which its version wrote them.
        now: Of the second, as today's version writes them.
    """
    given = before.model_dump(mode="json", exclude=NOT_COMPARED)
    wanted = now.model_dump(mode="json", exclude=NOT_COMPARED)
    for name in SECTIONS.keys() & given.keys():
        given[name] = _of_today(SECTIONS[name], given[name], set(wanted[name]))
    return sorted(_differences(given, wanted), key=lambda each: each.name)


def _of_today(section: type[Section], before: Settings, compared: set[str]) -> Settings:
    """Add what a version had no setting for, and leave out what is not compared any more.

    A setting that came later counts as today's default, which is what was done without it.
    """
    defaults = section().model_dump(mode="json", include=compared)
    free = section.model_fields.keys() - compared
    return {**defaults, **{name: value for name, value in before.items() if name not in free}}


def _differences(before: Any, now: Any, prefix: str = "") -> list[Difference]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            found
            for key in before.keys() | now.keys()
            for found in _differences(before.get(key), now.get(key), f"{prefix}{key}.")
        ]
    name = prefix.rstrip(".")
    return [] if before == now else [Difference(READABLE.get(name, name), before, now)]
