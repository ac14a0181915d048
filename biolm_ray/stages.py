"""One function per command; the command line and the Python API share them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from biolm_ray.config.load import write_config
from biolm_ray.config.paths import with_absolute_paths
from biolm_ray.config.schema import Config
from biolm_ray.data.targets import Targets
from biolm_ray.experiment.cross_validation import fold_jobs, train_folds
from biolm_ray.experiment.failures import raise_failures
from biolm_ray.experiment.first_lines import (
    loop_settings_of,
    say_assumptions,
    say_batches,
    say_center,
    say_copies,
)
from biolm_ray.experiment.placement import place, place_inference
from biolm_ray.experiment.pretraining import pretrain_model
from biolm_ray.experiment.progress import DataProgress, Display, ScoringProgress
from biolm_ray.experiment.runtime import Cluster, connected
from biolm_ray.experiment.search import SearchResult, search
from biolm_ray.experiment.setup import (
    choose_model,
    earlier_weights,
    find_tokenizer,
    fit_and_save_tokenizer,
    more_epochs_of,
    plan_run,
    room_for_sequences,
    tokenize_data,
)
from biolm_ray.experiment.storage import check_shared
from biolm_ray.experiment.tracking import check_tracking, track
from biolm_ray.experiment.trial import Trial
from biolm_ray.files import told_when_full
from biolm_ray.inference.distribute import score_tables
from biolm_ray.inference.inputs import chosen_rows, model_folders, model_to_read_with
from biolm_ray.inference.known_rows import find_known_rows, tell_known_rows
from biolm_ray.inference.plans import INTERPRET, ScoringPlan, plan_scoring, superseded
from biolm_ray.inference.predict import MeanPredictions
from biolm_ray.inference.prediction import predict_on_ray
from biolm_ray.inference.table_work import LooSummary
from biolm_ray.logs import RESULT, logged
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.scanning import prepared_folder
from biolm_ray.report.cross_validation import CrossValidationReport, report_folds
from biolm_ray.report.interpretation import (
    Interpretation,
    describe_interpretation,
    interpret_tables,
)
from biolm_ray.report.predictions import labelled_table, report_predictions
from biolm_ray.report.text import describe_data, describe_scoring, text_facts
from biolm_ray.results.aside import new_place, set_aside
from biolm_ray.results.manifest import relative
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.fold import FoldJob
from biolm_ray.training.pretraining import num_held_out

log = logging.getLogger("biolm_ray")


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
def running(config: Config) -> Iterator[tuple[Config, Cluster, Path]]:
    """Set a run up: absolute paths, log file, its configuration beside the results, Ray.

    On a cluster of several nodes it is refused where they do not share the results' folder.
    """
    config = with_absolute_paths(config)
    folder = Path(config.output_path) / config.mode
    with logged(folder / "logs", quiet=config.run.quiet), told_when_full(folder):
        write_config(config, folder / "config.yaml")
        log.info("%s: %s -> %s", config.mode, ", ".join(config.data.paths), folder)
        if config.data.max_rows is not None:
            log.info("no more than the first %d rows are read (dev)", config.data.max_rows)
        with connected(config.resources.address) as cluster:
            if config.mode != "tokenize":
                check_shared(folder)
            yield config, cluster, folder


def tokenize(config: Config) -> TokenizeResult:
    """Learn a tokenizer from the sequences of a file."""
    with running(config) as (config, _, folder):
        tokenizer = fit_and_save_tokenizer(config, _data_progress(config))
        prepared = None
        if config.run.prepare_only:  # no model is known yet that puts special tokens around
            prepared = _prepare(config, tokenizer, folder, config.preprocessing.block_size)
        return TokenizeResult(
            tokenizer=Path(config.output_path) / "tokenizer.json",
            vocabulary_size=len(tokenizer.vocabulary),
            prepared=None if prepared is None else prepared.location,
        )


def pretrain(config: Config) -> PretrainResult:
    """Train a language model on sequences without labels."""
    with running(config) as (config, cluster, folder):
        config, weights, prepared = _set_up(config, folder)
        if config.run.prepare_only:
            return PretrainResult(folder=folder, prepared=prepared.location)
        say_batches(config, len(prepared) - num_held_out(len(prepared)))
        metrics = pretrain_model(
            config,
            cluster,
            Display(loop_settings_of(config).num_epochs, config.run.quiet),
            prepared=prepared.location,
            tokenizer=folder,
            folder=folder,
            weights=weights,
        )
        log.log(RESULT, "held-out perplexity %.3f\nmodel: %s", metrics["eval_perplexity"], folder)
        track(config, {"pre-train": folder})
        return PretrainResult(folder=folder, prepared=prepared.location, metrics=metrics)


def finetune(config: Config) -> FinetuneResult:
    """Train and test a model on every fold."""
    with running(config) as (config, cluster, folder):
        config, weights, prepared = _set_up(config, folder)
        if config.run.prepare_only:
            return FinetuneResult(folder=folder, prepared=prepared.location)
        folds = plan_run(config, prepared, folder)
        placement = place(cluster, config.resources, len(folds))
        log.info("%s\n%s", folds[0].description, placement.note)
        say_copies(config, prepared, folds)
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
        )
        finished = {
            outcome.job.fold.index: outcome.metrics for outcome in outcomes if outcome.metrics
        }
        aside = _predict_kept_aside(config, cluster, jobs, len(finished), prepared)
        report = report_folds(folder, folds, finished, aside) if finished else None
        if report is not None:
            log.log(RESULT, "%s\nresults: %s", report.text, folder)
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
    with running(config) as (config, cluster, folder):
        config, folders, prepared = _read_with_models(config, folder)
        rows = chosen_rows(config, prepared)
        known = find_known_rows(folders, prepared, rows)
        log.info("predicting %d rows with %d models", len(rows), len(folders))
        tell_known_rows(known, "predicted")
        predicted = _predict_rows(config, cluster, folders, prepared, rows, known.may_predict)
        path, table, metrics = report_predictions(folder, prepared, rows, *predicted)
        log.log(RESULT, "%s\npredictions: %s", text_facts(metrics), path)
        return PredictResult(path=path, table=table, metrics=metrics)


def interpret(config: Config) -> InterpretResult:
    """Score how much each token of the sequences matters to the prediction."""
    with running(config) as (config, cluster, folder):
        config, folders, prepared = _read_with_models(config, folder)
        num_workers, gpu_per_worker = place_inference(
            cluster, config.resources, config.interpret.num_workers
        )
        plans, output = plan_scoring(config, folders, prepared), Path(config.output_path)
        num_sequences = sum(len(plan.rows) for plan in plans)
        edit = config.interpret.edit
        log.info("scoring %d sequences (%s) on %d workers", num_sequences, edit, num_workers)
        summaries = score_tables(
            plans,
            prepared.location,
            config.interpret,
            num_workers=num_workers,
            gpu_per_worker=gpu_per_worker,
            preprocessing=config.preprocessing,
            trusted=config.model.trusted,
            progress=ScoringProgress(log, num_workers=num_workers),
            make_room=partial(_make_room, plans, output, new_place(output, config.mode)),
        )
        for summary in summaries:
            paths = ", ".join(map(str, summary.paths))
            log.log(RESULT, "%s\nscores: %s", describe_scoring(summary), paths)
        readable: list[Interpretation] = []
        for paths in zip(*(summary.paths for summary in summaries), strict=True):
            readable += interpret_tables(paths, config)
        log.log(RESULT, "%s", "\n".join(map(describe_interpretation, readable)))
        return InterpretResult(tables=tuple(summaries), readable=tuple(readable))


def tune(config: Config) -> SearchResult:
    """Search the settings with the best mean score over the folds."""
    with running(config) as (config, cluster, folder):
        config, weights, prepared = _set_up(config, folder)
        folds = plan_run(config, prepared, folder)
        log.info("%s", folds[0].description)
        say_copies(config, prepared, folds)
        trial = Trial(
            config=config,
            prepared=prepared.location,
            tokenizer=folder,
            folds=tuple(folds),
            placement=place(cluster, config.resources, config.tune.num_samples),
            folder=folder / "trials",
            weights=weights,
        )
        result = search(config, trial, folder)
        log.log(
            RESULT,
            "best %s %.4f: %s\nrun it: %s",
            result.metric,
            result.best_value,
            result.best_settings,
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
            "the %d rows kept aside are predicted by all %d models, so not before the missing %d "
            "are finished (--resume)",
            len(rows),
            len(jobs),
            len(jobs) - num_finished,
        )
        return None
    log.info("predicting the %d rows kept aside with all %d models", len(rows), len(jobs))
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
    """Predict prepared rows on the largest node, with the mean and deviation over models."""
    return predict_on_ray(
        folders,
        prepared.location,
        rows,
        may_predict,
        config.preprocessing,
        config.model.trusted,
        num_cpus=max(1, cluster.node_cpus),
        num_gpus=place_inference(cluster, config.resources, 1)[1],
        progress=ScoringProgress(log, "rows"),
    )


def _make_room(
    plans: Sequence[ScoringPlan], output: Path, place: str, tables: Sequence[Path]
) -> None:
    """Move what new tables take the place of to a place below the output folder."""
    earlier = [there for table in tables for there in superseded(table, plans, output)]
    if earlier:
        names = list(dict.fromkeys(relative(path, output) for path in earlier))
        log.info("replaced, and kept in %s: %s", output / place, ", ".join(names))
        set_aside(output, INTERPRET, names, to=place)


def _set_up(config: Config, folder: Path) -> tuple[Config, Path | None, PreparedData]:
    """What every training begins with: its model, earlier weights, and tokenized data."""
    check_tracking(config.run.mlflow)
    weights = earlier_weights(config)
    config = more_epochs_of(config, weights)
    config = choose_model(config, weights)
    say_assumptions(config, weights)
    tokenizer = find_tokenizer(config, weights, _data_progress(config))
    room = room_for_sequences(config, tokenizer)
    return config, weights, _prepare(config, tokenizer, folder, room)


def _read_with_models(config: Config, folder: Path) -> tuple[Config, list[Path], PreparedData]:
    """What predict and interpret begin with: trained models, and data as they read it."""
    folders = model_folders(Path(config.model.pretrained or config.output_path))
    config, tokenizer, room = model_to_read_with(folders[0], config)
    return config, folders, _prepare(config, tokenizer, folder, room)


def _prepare(config: Config, tokenizer: Tokenizer, folder: Path, room: int) -> PreparedData:
    """Tokenize the run's data and say what it holds, and what exceeds the room of a model."""
    prepared = tokenize_data(
        config,
        tokenizer,
        prepared_in=prepared_folder(config),
        folder=folder,
        progress=_data_progress(config),
    )
    log.info("%s", describe_data(prepared, config.preprocessing.block_size, room))
    say_center(config.preprocessing, prepared)
    if config.run.prepare_only:
        log.log(RESULT, "tokenized data: %s", prepared.location)
    return prepared


def _data_progress(config: Config) -> DataProgress | None:
    return None if config.run.quiet else DataProgress(log)
