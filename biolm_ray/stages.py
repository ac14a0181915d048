"""One function per command; the command line and the Python API share them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import ray
from jaxtyping import Bool, Int

from biolm_ray import __version__
from biolm_ray.config.paths import default_output, with_absolute_paths
from biolm_ray.config.schema import Config
from biolm_ray.data.targets import Targets
from biolm_ray.experiment.cross_validation import fold_jobs, train_folds
from biolm_ray.experiment.failures import raise_failures
from biolm_ray.experiment.first_lines import (
    loop_settings_of,
    say_batches,
    say_center,
    say_copies,
    say_cut,
    say_what_runs,
)
from biolm_ray.experiment.placement import place, place_inference
from biolm_ray.experiment.pretraining import pretrain_model
from biolm_ray.experiment.progress import (
    DataProgress,
    Display,
    ScoringProgress,
    noun_of_predictions,
)
from biolm_ray.experiment.results import (
    RunResults,
    RunTokenizer,
    begin_run,
    publish_prepared,
    replace_tokenizer,
    told_when_stopped,
)
from biolm_ray.experiment.runtime import Cluster, connected
from biolm_ray.experiment.search import SearchResult, search, shown_settings
from biolm_ray.experiment.setup import (
    fit_run_tokenizer,
    plan_run,
    room_for_sequences,
    tokenize_data,
)
from biolm_ray.experiment.starting import TrainingStart, find_start
from biolm_ray.experiment.storage import check_shared
from biolm_ray.experiment.tracking import track
from biolm_ray.experiment.training_results import (
    begin_search,
    begin_training,
    finish_training,
)
from biolm_ray.experiment.trial import Trial
from biolm_ray.experiment.turns import TURNS
from biolm_ray.inference.distribute import score_tables
from biolm_ray.inference.inputs import chosen_rows, find_models
from biolm_ray.inference.known_rows import find_known_rows, tell_known_rows
from biolm_ray.inference.plans import ScoringPlan, plan_scoring, sequence_lengths, superseded
from biolm_ray.inference.predict import MeanPredictions
from biolm_ray.inference.prediction import predict_folders
from biolm_ray.inference.scores_file import table_files
from biolm_ray.inference.table_work import LooSummary
from biolm_ray.logs import RESULT, logged
from biolm_ray.models.plugins import plugin_named
from biolm_ray.preparation.first_look import look_at_data, look_at_model
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.scanning import prepared_folder
from biolm_ray.report.cross_validation import (
    CrossValidationReport,
    report_folds,
    tables_over_folds,
)
from biolm_ray.report.interpretation import (
    Interpretation,
    check_readings,
    describe_interpretations,
    interpret_tables,
)
from biolm_ray.report.predictions import (
    about_equal_predictions,
    labelled_table,
    report_predictions,
)
from biolm_ray.report.text import describe_data, describe_scoring, text_facts
from biolm_ray.results.contents import LOGS, results_to_replace, tables_in
from biolm_ray.results.lock import locked
from biolm_ray.results.manifest import relative
from biolm_ray.results.output_folder import check_output
from biolm_ray.shortages import shortage_as_error
from biolm_ray.tokenization.tokenizer import TOKENIZER_FILE, Tokenizer
from biolm_ray.training.earlier_rows import say_seen_before
from biolm_ray.training.fold import FoldJob
from biolm_ray.training.pretraining import num_held_out
from biolm_ray.wording import counted

log = logging.getLogger("biolm_ray")

Start = TypeVar("Start")
TOKENIZED = "tokenized data: %s"


@dataclass(frozen=True, kw_only=True)
class TokenizeResult:
    """A fitted tokenizer and, with `run.prepare_only`, the data it has prepared."""

    tokenizer: Path
    vocabulary_size: int
    prepared: str | None = None


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """A pre-trained model: its folder, and its metrics on held-out sequences."""

    folder: Path
    prepared: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """The models of all folds: their folders, metrics and out-of-fold predictions."""

    folder: Path
    prepared: str
    model_folders: tuple[Path, ...] = ()
    report: CrossValidationReport | None = None


@dataclass(frozen=True, kw_only=True)
class PredictResult:
    """Predictions of a file, with metrics where it has labels."""

    path: Path
    table: pd.DataFrame
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class InterpretResult:
    """The tables of leave-one-out scores, and what was made of each to be read."""

    tables: tuple[LooSummary, ...]
    readable: tuple[Interpretation, ...] = ()


@contextmanager
def running(
    config: Config, find: Callable[[Config], Start]
) -> Iterator[tuple[Start, Cluster, RunResults]]:
    """Set a run up: absolute paths, the folder's lock, log file, its configuration, Ray.

    Its data are looked at, and `find` finds what it starts from, before Ray starts: that takes a
    while, and what is wrong is told without waiting for it.

    Where another run works in the folder, it is refused before anything is written there. On a
    cluster of several nodes it is refused where they do not share the results' folder.
    """
    config = with_absolute_paths(config)
    is_default = config.output_path == default_output(config.data.path)
    check_output(Path(config.output_path), config.mode, is_default=is_default)
    folder = Path(config.output_path) / config.mode
    with (
        locked(Path(config.output_path), config.mode) as lock,
        TURNS.taken(f"{config.mode} ({config.output_path})", joined=ray.is_initialized()),
        logged(folder / LOGS, quiet=config.run.quiet),
        shortage_as_error(folder),
    ):
        if lock.taken_over is not None:
            log.warning("%s", lock.taken_over)
        results = begin_run(config, __version__, lock)
        say_what_runs(config, beside_data=is_default)
        with told_when_stopped(results), plugin_named(config.model.plugin):
            look_at_data(config)
            look_at_model(config)
            results.finish_moving()  # models may lie among what is being moved
            start = find(config)
            with connected(config.resources.address) as cluster:
                if config.mode != "tokenize":
                    check_shared(folder)
                yield start, cluster, results


def tokenize(config: Config) -> TokenizeResult:
    """Learn a tokenizer from the sequences of a file."""
    with running(config, lambda config: config) as (config, _, results):
        tokenizer = fit_run_tokenizer(config, _data_progress(config))
        prepared = None
        if config.run.prepare_only:  # no model is known yet that puts special tokens around
            prepared = _prepare(config, tokenizer, results, config.preprocessing.block_size)
            log.log(RESULT, TOKENIZED, prepared.location)
        replace_tokenizer(results, tokenizer)
        return TokenizeResult(
            tokenizer=results.output / TOKENIZER_FILE,
            vocabulary_size=len(tokenizer.vocabulary),
            prepared=None if prepared is None else prepared.location,
        )


def pretrain(config: Config) -> PretrainResult:
    """Train a language model on sequences without labels."""
    with running(config, find_start) as (start, cluster, results):
        config, weights = start.config, start.weights
        prepared, tokenizer = _prepare_training(start, results)
        folder = results.folder
        if config.run.prepare_only:
            publish_prepared(results, tokenizer)
            log.log(RESULT, TOKENIZED, prepared.location)
            return PretrainResult(folder=folder, prepared=prepared.location)
        say_batches(config, len(prepared) - num_held_out(len(prepared)))
        outcome = pretrain_model(
            config,
            cluster,
            Display(loop_settings_of(config).num_epochs, config.run.quiet),
            prepared=prepared.location,
            tokenizer=folder,
            folder=folder,
            weights=weights,
            begin=partial(begin_training, results, tokenizer),
        )
        finish_training(results, [outcome])
        metrics = outcome.metrics or {}
        log.log(RESULT, "held-out perplexity %.3f\nmodel: %s", metrics["eval_perplexity"], folder)
        track(config, {"pre-train": folder})
        return PretrainResult(folder=folder, prepared=prepared.location, metrics=metrics)


def finetune(config: Config) -> FinetuneResult:
    """Train and test a model on every fold."""
    with running(config, find_start) as (start, cluster, results):
        config, weights = start.config, start.weights
        prepared, tokenizer = _prepare_training(start, results)
        folder = results.folder
        folds = plan_run(config, prepared, tokenizer.tokenizer)
        if config.run.prepare_only:
            publish_prepared(results, tokenizer)
            log.log(RESULT, TOKENIZED, prepared.location)
            return FinetuneResult(folder=folder, prepared=prepared.location)
        placement = place(cluster, config.resources, len(folds))
        log.info("%s\n%s", folds[0].description, placement.note)
        say_copies(config, prepared, folds)
        if type(config.training.resume) is not int:  # else each fold starts from its own weights
            say_seen_before(weights, prepared, folds)
        jobs = fold_jobs(
            config,
            folds,
            prepared=prepared.location,
            tokenizer=folder,
            folder=folder,
            weights=weights,
        )
        outcomes = train_folds(
            jobs,
            placement,
            Display(loop_settings_of(config).num_epochs, config.run.quiet),
            config.training.resume,
            partial(begin_training, results, tokenizer),
        )
        finished = {
            outcome.job.fold.index: outcome.metrics for outcome in outcomes if outcome.metrics
        }
        finish_training(results, outcomes)
        aside = _predict_kept_aside(config, cluster, jobs, len(finished), prepared)
        report = report_folds(folder, folds, finished, aside) if finished else None
        if report is not None:
            tables = [each for each in (report.out_of_fold, aside) if each is not None]
            equal = about_equal_predictions(tables)
            log.log(RESULT, "%s\n%sresults: %s", report.text, equal, folder)
        used = [job.folder for job in jobs if job.fold.index in finished]
        results.record_tables(tables_over_folds(folder), used)
        track(config, {job.name: job.folder for job in jobs if job.fold.index in finished})
        raise_failures(outcomes)
        return FinetuneResult(
            folder=folder,
            prepared=prepared.location,
            model_folders=tuple(job.folder for job in jobs),
            report=report,
        )


def predict(config: Config) -> PredictResult:
    """Predict the rows of a file with a model, or with the models of all folds."""
    with running(config, find_models) as (found, cluster, results):
        config, models, folders = found.config, found.models, found.models.folders
        prepared = _prepare(config, found.tokenizer, results, found.room)
        rows = chosen_rows(config, prepared)
        known = find_known_rows(folders, prepared, rows)
        num_models = counted(len(folders), "model")
        log.info("predicting %s with %s", counted(len(rows), "row"), num_models)
        tell_known_rows(known, "predicted")
        results.announce(results_to_replace(results.output, results.mode))
        with models.unchanged():
            predicted = _predict_rows(config, cluster, folders, prepared, rows, known.may_predict)
        write = partial(report_predictions, results.folder, prepared, rows, *predicted)
        path, table, metrics = results.replace_with(write, folders)
        facts = f"{text_facts(metrics)}\n" if metrics else ""
        log.log(RESULT, "%s%spredictions: %s", facts, about_equal_predictions([table]), path)
        return PredictResult(path=path, table=table, metrics=metrics)


def interpret(config: Config) -> InterpretResult:
    """Score how much each token of the sequences matters to the prediction."""
    with running(config, find_models) as (found, cluster, results):
        config, models = found.config, found.models
        prepared = _prepare(config, found.tokenizer, results, found.room)
        num_workers, gpu_per_worker = place_inference(
            cluster, config.resources, config.interpret.num_workers
        )
        plans = plan_scoring(config, models.folders, prepared)
        check_readings(config, [name for plan in plans for name in prepared.ids_of(plan.rows)])
        results.announce(_replaced_tables(plans, results, [plan.out_csv for plan in plans]))
        num_sequences = sum(len(plan.rows) for plan in plans)
        edit = config.interpret.edit
        sequences, workers = counted(num_sequences, "sequence"), counted(num_workers, "worker")
        log.info("scoring %s (%s) on %s", sequences, edit, workers)

        def make_room(tables: Sequence[Path]) -> None:
            models.check()
            results.make_room(_replaced_tables(plans, results, tables))

        with models.unchanged():
            summaries = score_tables(
                plans,
                prepared.location,
                config.interpret,
                num_workers=num_workers,
                gpu_per_worker=gpu_per_worker,
                wait_minutes=config.resources.wait_minutes,
                preprocessing=config.preprocessing,
                trusted=config.model.trusted,
                progress=ScoringProgress(log, num_workers=num_workers),
                make_room=make_room,
            )
        for plan, summary in zip(plans, summaries, strict=True):
            title = plan.title if len(plans) > 1 else ""
            log.log(RESULT, "%s", describe_scoring(summary, title))
        readable: list[Interpretation] = []
        # Where a token is a letter, it is known how many there are beyond what models see.
        lengths = sequence_lengths(plans, prepared) if found.tokenizer.encoding == "atomic" else {}
        for paths in zip(*(summary.paths for summary in summaries), strict=True):
            readable += interpret_tables(paths, config, lengths)
        results.publish()
        for plan, summary in zip(plans, summaries, strict=True):
            results.record_tables(table_files(summary.paths), plan.folders)
        read = [path for found in readable for path in found.paths.values()]
        results.record_tables(read, [folder for plan in plans for folder in plan.folders])
        scores = [f"scores: {', '.join(map(str, summary.paths))}" for summary in summaries]
        log.log(RESULT, "%s", "\n".join([*scores, *describe_interpretations(readable)]))
        return InterpretResult(tables=tuple(summaries), readable=tuple(readable))


def tune(config: Config) -> SearchResult:
    """Search the settings with the best mean score over the folds."""
    with running(config, find_start) as (start, cluster, results):
        config, weights = start.config, start.weights
        prepared, tokenizer = _prepare_training(start, results)
        folder = results.folder
        folds = plan_run(config, prepared, tokenizer.tokenizer)
        log.info("%s", folds[0].description)
        say_copies(config, prepared, folds)
        if type(config.training.resume) is not int:  # else each fold starts from its own weights
            say_seen_before(weights, prepared, folds)
        trial = Trial(
            config=config,
            prepared=prepared.location,
            tokenizer=folder,
            folds=tuple(folds),
            placement=place(cluster, config.resources, config.tune.num_samples),
            folder=folder / "trials",
            weights=weights,
        )
        result = search(config, trial, folder, partial(begin_search, results, tokenizer))
        results.record_tables(tables_in(folder), [])
        log.log(
            RESULT,
            "best %s %.4f: %s\nrun it: %s",
            result.metric,
            result.best_value,
            shown_settings(result.best_settings),
            result.best_config,
        )
        return result


def _predict_kept_aside(
    config: Config, cluster: Cluster, jobs: Sequence[FoldJob], num_finished: int, data: PreparedData
) -> pd.DataFrame | None:
    """Let all models predict the rows that no fold has seen, once every model is finished."""
    rows = jobs[0].fold.kept_aside
    if not len(rows):
        return None
    if num_finished < len(jobs):
        log.warning(
            "the rows kept aside (%d) are predicted by all %s together, once the missing %d %s "
            "finished (--resume)",
            len(rows),
            counted(len(jobs), "model"),
            len(jobs) - num_finished,
            "is" if len(jobs) - num_finished == 1 else "are",
        )
        return None
    models = counted(len(jobs), "model")
    log.info("predicting the %s kept aside with %s", counted(len(rows), "row"), models)
    folders = [job.folder for job in jobs]
    by_all = np.ones((len(folders), len(rows)), dtype=bool)
    return labelled_table(data, rows, *_predict_rows(config, cluster, folders, data, rows, by_all))


def _predict_rows(
    config: Config,
    cluster: Cluster,
    folders: Sequence[Path],
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    may_predict: Bool[np.ndarray, "models rows"],
) -> tuple[MeanPredictions, Targets]:
    """Predict prepared rows on free CPUs or GPUs, with the mean and deviation over models."""
    num_workers, gpu_per_worker = place_inference(cluster, config.resources)
    return predict_folders(
        folders,
        prepared.location,
        rows,
        may_predict,
        config.preprocessing,
        config.model.trusted,
        num_workers=num_workers,
        gpu_per_worker=gpu_per_worker,
        wait_minutes=config.resources.wait_minutes,
        progress=ScoringProgress(log, noun_of_predictions(len(rows), len(folders))),
    )


def _replaced_tables(
    plans: Sequence[ScoringPlan], results: RunResults, tables: Sequence[Path]
) -> list[str]:
    """List what new tables take the place of, relative to the output folder."""
    earlier = [there for table in tables for there in superseded(table, plans, results.output)]
    return list(dict.fromkeys(relative(path, results.output) for path in earlier))


def _prepare_training(
    start: TrainingStart, results: RunResults
) -> tuple[PreparedData, RunTokenizer]:
    """What every training begins with: tokenized data, and the tokenizer, fitted if need be."""
    config, known = start.config, start.tokenizer
    tokenizer = known or fit_run_tokenizer(config, _data_progress(config))
    room = room_for_sequences(config, tokenizer)
    prepared = _prepare(config, tokenizer, results, room, describe=known is not None)
    return prepared, RunTokenizer(tokenizer, is_new=known is None)


def _prepare(
    config: Config, tokenizer: Tokenizer, results: RunResults, room: int, *, describe: bool = True
) -> PreparedData:
    """Tokenize the run's data and say what it holds, and what exceeds the room of a model."""
    prepared = tokenize_data(
        config,
        tokenizer,
        prepared_in=prepared_folder(config),
        folder=results.folder / LOGS,
        progress=_data_progress(config),
        describe=describe,
    )
    block_size = config.preprocessing.block_size
    log.info("%s", describe_data(prepared, block_size, room, tokenizer.encoding))
    say_cut(prepared, room)
    say_center(config.preprocessing, prepared)
    return prepared


def _data_progress(config: Config) -> DataProgress | None:
    return None if config.run.quiet else DataProgress(log)
