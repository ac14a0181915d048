"""One trial of a search: train every fold with some settings and report the running mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from biolm_ray.config.load import with_settings
from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.errors import TrainingError
from biolm_ray.experiment.cross_validation import fold_jobs, train_folds
from biolm_ray.experiment.failures import raise_failures
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.progress import Display
from biolm_ray.experiment.setup import find_tokenizer, plan_run, tokenize_data
from biolm_ray.preparation.scanning import prepared_folder

PREPARED_BY = (
    "data.",
    "tokenization.",
    "preprocessing.",
    "splits.",
    "training.seed",
    "training.scaling",
    "task",
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What all trials of a search share.

    Attributes:
        config: The configuration that each trial changes a little.
        prepared: The data set as that configuration prepares it.
        tokenizer: Folder of the tokenizer that goes with it.
        folds: Its folds.
        placement: The workers of each fold; one fold at a time.
        folder: Each trial works in a folder of its own below this one.
        weights: Pre-trained weights, if any.
    """

    config: Config
    prepared: str
    tokenizer: Path
    folds: tuple[Fold, ...]
    placement: Placement
    folder: Path
    weights: Path | None

    @property
    def num_folds(self) -> int:
        return len(self.folds)


def run_trial(settings: dict[str, Any], trial: Trial, metric: str) -> None:
    """Train the folds one after another; finished ones of a broken-off trial are not repeated."""
    folder = trial.folder / tune.get_context().get_trial_id()
    config = with_settings(trial.config, {**settings, "training.resume": "auto"})
    jobs = fold_jobs(config, folder=folder, weights=trial.weights, **_rows(config, trial, folder))
    values: list[float] = []
    for job in jobs:
        display = Display(1, quiet=True)
        outcomes = train_folds([job], trial.placement, display, "auto")
        raise_failures(outcomes)
        metrics = outcomes[0].metrics or {}
        if f"eval_{metric}" not in metrics:
            raise TrainingError(f"{job.name} has no validation rows to search {metric} on")
        values.append(metrics[f"eval_{metric}"])
        facts = {"fold": len(values), "fold_name": job.name, "num_folds": len(jobs)}
        tune.report({metric: float(np.mean(values)), **facts})


def _rows(config: Config, trial: Trial, folder: Path) -> dict[str, Any]:
    """Give data, tokenizer and folds: the shared ones unless the settings change them."""
    changed = [
        name
        for name in trial.config.tune.space
        if name.startswith(PREPARED_BY) and name != "preprocessing.block_size"
    ]
    if not changed:
        return {
            "folds": trial.folds,
            "prepared": trial.prepared,
            "tokenizer": trial.tokenizer,
        }
    own = config.model_copy(update={"output_path": str(folder)})
    tokenizer = find_tokenizer(own, trial.weights)
    shared = prepared_folder(trial.config)
    prepared = tokenize_data(own, tokenizer, prepared_in=shared, folder=folder)
    folds = plan_run(own, prepared, tokenizer)
    tokenizer.save(folder)
    return {"folds": folds, "prepared": prepared.location, "tokenizer": folder}
