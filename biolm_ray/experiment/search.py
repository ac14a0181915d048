"""Search settings with Ray Tune; a trial is judged by the mean of a metric over the folds."""

import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray.cloudpickle
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from biolm_ray.config.load import with_settings, write_config
from biolm_ray.config.schema import Config, Range
from biolm_ray.errors import ConfigError, TrainingError, root_cause, sentence
from biolm_ray.experiment.begun import SearchSettings, differences, search_settings
from biolm_ray.experiment.failures import CAUSE_LETTERS
from biolm_ray.experiment.trial import Trial, run_trial
from biolm_ray.experiment.tried import TRIALS, Trials, Tried, read_trials
from biolm_ray.experiment.waiting import Demand, PlaceWatch, demand_of, num_queued_models
from biolm_ray.records import find_record, write_record
from biolm_ray.signals import handlers_kept
from biolm_ray.training.metrics import HIGHER_IS_BETTER
from biolm_ray.training.seeding import derive_seed
from biolm_ray.wording import counted

log = logging.getLogger("biolm_ray")

SETTINGS = "search_settings.json"
REMEDY = (
    "it says what the trials beside it were begun with: put back a copy of it, or set "
    "tune.resume: false to start over"
)
TRIAL_RESOURCES = {"CPU": 0, "node:__internal_head__": 0.001}


Begin = Callable[..., None]
"""Makes room for the results; called with `continues`, before anything of them is touched."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        metric: What was searched for, a mean over the validation rows of the folds.
        best_value: Its best value.
        best_settings: The settings that reached it.
        best_config: A YAML file that runs them.
        trials: One entry per trial: its settings, value, number of folds and more.
    """

    metric: str
    best_value: float
    best_settings: dict[str, Any]
    best_config: Path
    trials: list[dict[str, Any]]


def search(config: Config, trial: Trial, folder: Path, begin: Begin) -> SearchResult:
    """Try settings until the number of samples or the time is used up.

    A search that was broken off is continued from the file of its trials: those that have ended
    count, the others are taken up again, without the folds that they have finished. What Ray Tune
    keeps by itself are pickles; they lie in a private folder that goes with the run.

    Args:
        config: Of the run.
        trial: What all trials share.
        folder: Of the results.
        begin: Makes room for the results.

    Raises:
        ConfigError: It was begun with other settings.
        TrainingError: No trial finished.
        KeyboardInterrupt: It was broken off; the file of the trials has what is needed to go on.
    """
    assert config.tune.space, "the configuration is checked for this"
    metric = search_metric(config)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    earlier = _earlier_trials(config, trial, folder, metric, begin)
    trials = Trials(folder / TRIALS, metric, earlier)
    missing = config.tune.num_samples - sum(each.counts for each in earlier)
    if missing > 0:
        with tempfile.TemporaryDirectory(prefix="biolm_ray-tune-") as scratch:
            _run_trials(config, trial, metric, trials, num_samples=missing, scratch=scratch)
    finished = [each for each in trials if each.value is not None and each.error is None]
    if not finished:
        error = next((each.error for each in trials if each.error), "nothing")
        raise TrainingError(f"no trial finished; the first one says: {error}")
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    best = max(finished, key=lambda each: (each.folds, sign * (each.value or 0)))
    assert best.value is not None
    best_config = folder / "best_config.yaml"
    write_config(with_settings(config, {**best.settings, "mode": "fine-tune"}), best_config)
    return SearchResult(
        metric=metric,
        best_value=best.value,
        best_settings=best.settings,
        best_config=best_config,
        trials=trials.entries(),
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


def _earlier_trials(
    config: Config, trial: Trial, folder: Path, metric: str, begin: Begin
) -> list[Tried]:
    """Read the trials of a search to go on with; without `tune.resume` it makes room.

    Raises:
        ConfigError: It was begun with other settings.
        DataError: What it was begun with, or its file of trials, is damaged.
    """
    path = folder / SETTINGS
    now = search_settings(config, trial.prepared)
    # Of an earlier version, which kept the pickles of Ray Tune there.
    shutil.rmtree(folder / "search", ignore_errors=True)
    earlier = []
    before = find_record(path, SearchSettings, REMEDY) if config.tune.resume else None
    if before is not None:
        differing = differences(before, now)
        if differing:
            raise ConfigError(
                f"{folder} holds a search that was begun with other settings; differing: "
                f"{'; '.join(map(str, differing))}. Set them back, or set tune.resume: false to "
                "start over"
            )
        earlier = read_trials(folder / TRIALS, metric, config.tune.space)
    if earlier:
        ended = sum(each.counts for each in earlier)
        trials = counted(ended, "trial has", "trials have")
        log.info("continuing the search in %s: %s ended", folder, trials)
        begin(continues=True)
        return earlier
    begin(continues=False)
    (folder / TRIALS).unlink(missing_ok=True)
    shutil.rmtree(trial.folder, ignore_errors=True)
    write_record(path, now)
    return []


def _run_trials(
    config: Config, trial: Trial, metric: str, trials: Trials, *, num_samples: int, scratch: str
) -> None:
    """Run more trials, the unfinished ones first.

    Raises:
        KeyboardInterrupt: They were broken off.
    """
    started = time.monotonic()
    budget_seconds = config.tune.budget_minutes and config.tune.budget_minutes * 60
    record = TrialRecord(
        trials, trial.folder, metric, config.tune.num_samples, demand_of(trial.placement)
    )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, trial=trial, metric=metric), TRIAL_RESOURCES
        ),
        tune_config=tune.TuneConfig(
            num_samples=num_samples,
            time_budget_s=budget_seconds,
            max_concurrent_trials=config.tune.max_parallel_trials or trial.placement.parallel,
            search_alg=_searcher(config, metric, trials),
            scheduler=ASHAScheduler(
                time_attr="fold",
                max_t=max(2, trial.num_folds),
                metric=metric,
                mode=_mode(metric),
            ),
        ),
        run_config=tune.RunConfig(
            name="search", storage_path=scratch, verbose=0, callbacks=[record]
        ),
    )
    with handlers_kept():  # Ray Tune leaves one of its own for Ctrl-C
        tuner.fit()
    is_over = budget_seconds is not None and time.monotonic() - started >= budget_seconds
    if not all(each.ended for each in trials) and not is_over:
        raise KeyboardInterrupt


def _mode(metric: str) -> str:
    return "max" if HIGHER_IS_BETTER[metric] else "min"


def _searcher(config: Config, metric: str, trials: Trials) -> OptunaSearch:
    """A search that knows the trials that have ended, and begins with those that have not."""
    ended, num_tried = [each for each in trials if each.counts], len(list(trials))
    searcher = OptunaSearch(
        OptunaSearch.convert_search_space(search_space(config)),
        metric=metric,
        mode=_mode(metric),
        points_to_evaluate=[each.settings for each in trials if not each.counts],
        # The same seed would draw again what the first trials have had.
        seed=derive_seed(config.training.seed, "search", num_tried) % 2**32
        if num_tried
        else config.training.seed,
    )
    for each in ended:
        assert each.value is not None
        searcher.add_evaluated_point(each.settings, each.value)
    return searcher


class TrialRecord(tune.Callback):
    """Writes down what each trial has reached after each fold, and says it in a line."""

    def __init__(
        self, trials: Trials, folder: Path, metric: str, num_samples: int, demand: Demand
    ) -> None:
        self._trials, self._folder, self._metric = trials, folder, metric
        self._num_samples = num_samples
        self._num_earlier = sum(each.counts for each in trials)
        # A trial gives up by itself; its process has no way to say what it waits for.
        self._demand, self._watch = demand, PlaceWatch(demand, math.inf)

    def on_step_end(self, iteration, trials, **info) -> None:
        num_running = sum(trial.status == trial.RUNNING for trial in trials)
        num_queued = min(num_running, num_queued_models(self._demand))
        self._watch.look(num_queued, num_running - num_queued)

    def on_trial_start(self, iteration, trials, trial, **info) -> None:
        again = self._trials.start(trial.trial_id, dict(trial.config))
        if again is not None and (self._folder / again).is_dir():
            (self._folder / again).rename(self._folder / trial.trial_id)

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        value, num_done, num_folds = result[self._metric], result["fold"], result["num_folds"]
        self._trials.update(trial.trial_id, value=value, folds=num_done)
        name = self._name(trials, trial)
        log.info(
            "%s%s %.4f with %s",
            name,
            f", {result['fold_name']}: mean {self._metric}"
            if num_folds > 1
            else f": {self._metric}",
            value,
            shown_settings(trial.config),
        )
        # Ray Tune stops a trial so when others with as many folds are better.
        if result.get("done") and num_done < num_folds:
            log.info(
                "%s is stopped after %d of %d folds: others are better so far",
                name,
                num_done,
                num_folds,
            )

    def _name(self, trials, trial) -> str:
        return f"trial {self._num_earlier + trials.index(trial) + 1} of {self._num_samples}"

    def on_trial_complete(self, iteration, trials, trial, **info) -> None:
        self._trials.update(trial.trial_id, ended=True)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        error = root_cause(_error_of(trial))
        text = sentence(error)
        log.error(
            "%s failed: %s; with %s",
            self._name(trials, trial),
            text,
            shown_settings(trial.config),
            exc_info=error,
        )
        if trial.trial_id not in self._trials:  # its process could not even be started
            self._trials.start(trial.trial_id, dict(trial.config))
        self._trials.update(trial.trial_id, ended=True, error=text[-CAUSE_LETTERS:])


def shown_settings(settings: Mapping[str, Any]) -> str:
    """Write the settings of a trial in a line."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _error_of(trial: Any) -> BaseException:
    """Read the error that Ray Tune has just put down, in its own private folder."""
    try:
        with Path(trial.pickled_error_file).open("rb") as file:
            return ray.cloudpickle.load(file)
    except (OSError, TypeError):  # an error of Ray Tune's own is kept as a text only
        return TrainingError("its process could not be started or was lost")
