"""Search settings with Ray Tune; a trial is judged by the mean of a metric over the folds."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from biolm_ray.config.load import with_settings, write_config
from biolm_ray.config.schema import Config, Range
from biolm_ray.data.store import Folder
from biolm_ray.errors import ConfigError, TrainingError, root_cause
from biolm_ray.experiment.resuming import FREE_TO_CHANGE, differing_settings
from biolm_ray.experiment.trial import Trial, run_trial
from biolm_ray.files import write_json
from biolm_ray.training.metrics import HIGHER_IS_BETTER

log = logging.getLogger("biolm_ray")

STATE = "search"
SETTINGS = "search_settings.json"
TRIAL_RESOURCES = {"CPU": 0, "node:__internal_head__": 0.001}


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        metric: What was searched for, a mean over the validation rows of the folds.
        best_value: Its best value.
        best_settings: The settings that reached it.
        best_config: A YAML file that runs them.
        trials: One entry per trial: its settings, value and number of folds.
    """

    metric: str
    best_value: float
    best_settings: dict[str, Any]
    best_config: Path
    trials: list[dict[str, Any]]


def search(config: Config, trial: Trial, folder: Path) -> SearchResult:
    """Try settings until the number of samples or the time is used up.

    A search that was broken off is continued; its finished trials are kept.

    Raises:
        ConfigError: It was begun with other settings.
        TrainingError: No trial finished.
        KeyboardInterrupt: It was broken off; Ray Tune has kept what is needed to go on.
    """
    assert config.tune.space, "the configuration is checked for this"
    metric = search_metric(config)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    continues = _check_earlier(config, trial, folder)
    tuner = _tuner(config, trial, folder, metric, continues=continues)
    results = tuner.fit()
    if any(result.error is None and not (result.metrics or {}).get("done") for result in results):
        raise KeyboardInterrupt
    trials = [
        {
            "settings": result.config,
            metric: (result.metrics or {}).get(metric),
            "folds": (result.metrics or {}).get("fold", 0),
            "error": None if result.error is None else str(root_cause(result.error))[-500:],
        }
        for result in results
    ]
    finished = [entry for entry in trials if entry[metric] is not None]
    if not finished:
        raise TrainingError(f"no trial finished; the first one says: {trials[0]['error']}")
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    best = max(finished, key=lambda entry: (entry["folds"], sign * entry[metric]))
    best_config = folder / "best_config.yaml"
    write_json(folder / "trials.json", trials)
    write_config(with_settings(config, {**best["settings"], "mode": "fine-tune"}), best_config)
    return SearchResult(
        metric=metric,
        best_value=best[metric],
        best_settings=best["settings"],
        best_config=best_config,
        trials=trials,
    )


def search_metric(config: Config) -> str:
    """Give the metric asked for, else the one that suits the task."""
    default = "auroc" if config.task == "classification" else "pearson"
    return config.tune.metric or default


def search_space(config: Config) -> dict[str, Any]:
    """Turn lists into choices and ranges into distributions."""
    return {name: _domain(values) for name, values in config.tune.space.items()}


def _domain(values: Sequence[Any] | Range) -> Any:
    if not isinstance(values, Range):
        return tune.choice(list(values))
    if values.integer:
        draw = tune.lograndint if values.log else tune.randint
        return draw(int(values.low), int(values.high) + 1)
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _check_earlier(config: Config, trial: Trial, folder: Path) -> bool:
    """Tell whether there is a search to go on with; without `tune.resume` it is forgotten.

    Raises:
        ConfigError: It was begun with other settings, which Ray Tune would not notice.
    """
    path = folder / SETTINGS
    now = {
        "prepared": Folder(trial.prepared).name,
        **config.model_dump(mode="json", include={"task", "model", "preprocessing", "splits"}),
        "training": config.training.model_dump(mode="json", exclude=FREE_TO_CHANGE),
        "tune": config.tune.model_dump(mode="json", include={"space", "metric", "num_samples"}),
    }
    if config.tune.resume and path.exists() and tune.Tuner.can_restore(str(folder / STATE)):
        differing = differing_settings(json.loads(path.read_text(encoding="utf-8")), now)
        if differing:
            raise ConfigError(
                f"{folder} holds a search that was begun with other settings; differing: "
                f"{', '.join(differing)}. Set them back, or set tune.resume: false to begin anew"
            )
        return True
    for stale in (folder / STATE, trial.folder):
        shutil.rmtree(stale, ignore_errors=True)
    write_json(path, now)
    return False


def _tuner(
    config: Config, trial: Trial, folder: Path, metric: str, *, continues: bool
) -> tune.Tuner:
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, trial=trial, metric=metric), TRIAL_RESOURCES
    )
    stored = folder / STATE
    if continues:
        log.info("continuing the search in %s", stored)
        return tune.Tuner.restore(
            str(stored), trainable, resume_unfinished=True, restart_errored=True
        )
    mode = "max" if HIGHER_IS_BETTER[metric] else "min"
    return tune.Tuner(
        trainable,
        param_space=search_space(config),
        tune_config=tune.TuneConfig(
            metric=metric,
            mode=mode,
            num_samples=config.tune.num_samples,
            time_budget_s=config.tune.budget_minutes and config.tune.budget_minutes * 60,
            max_concurrent_trials=config.tune.max_parallel_trials or trial.placement.parallel,
            search_alg=OptunaSearch(seed=config.training.seed),
            scheduler=ASHAScheduler(time_attr="fold", max_t=max(2, trial.num_folds)),
        ),
        run_config=tune.RunConfig(
            name=stored.name,
            storage_path=str(folder),
            verbose=0,
            callbacks=[TrialLines(metric, config.tune.num_samples)],
        ),
    )


class TrialLines(tune.Callback):
    """Says in a line what each trial has reached after each fold."""

    def __init__(self, metric: str, num_samples: int) -> None:
        self.metric = metric
        self.num_samples = num_samples

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        settings = ", ".join(f"{name} {value}" for name, value in trial.config.items())
        log.info(
            "trial %d of %d, fold %d: mean %s %.4f with %s",
            trials.index(trial) + 1,
            self.num_samples,
            result["fold"],
            self.metric,
            result[self.metric],
            settings,
        )
