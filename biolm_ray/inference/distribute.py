"""Leave-one-out scores of many sequences, spread over Ray workers or made right here."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from biolm_ray.config.schema import OWN_CODE, InterpretConfig, PreprocessingConfig, TrustedCode
from biolm_ray.inference.leave_one_out import make_planner
from biolm_ray.inference.plans import ScoringPlan
from biolm_ray.inference.predict import check_fits
from biolm_ray.inference.replacements import readable_vocabulary, unused_replacements
from biolm_ray.inference.score_table import chosen_class
from biolm_ray.inference.scorer import load_models
from biolm_ray.inference.spreading import Task, score_units
from biolm_ray.inference.table_work import LooSummary, MakeRoom, TableWork
from biolm_ray.inference.units import (
    Cost,
    UnitResult,
    batched_cost,
    incremental_cost,
    make_units,
    work_key,
)
from biolm_ray.inference.worker import ScoringJob
from biolm_ray.models.saved import SavedModel
from biolm_ray.preparation.prepared import PreparedData

log = logging.getLogger("biolm_ray")

Progress = Callable[[int, int], None]

PARTS = ".loo_parts"


def score_tables(
    plans: Sequence[ScoringPlan],
    prepared_in: str | Path,
    settings: InterpretConfig,
    *,
    num_workers: int,
    gpu_per_worker: float = 0.0,
    wait_minutes: float = 30.0,
    preprocessing: PreprocessingConfig | None = None,
    trusted: TrustedCode = OWN_CODE,
    progress: Progress | None = None,
    make_room: MakeRoom = lambda paths: None,
) -> list[LooSummary]:
    """Score rows of a prepared data set and write tables, each as soon as it is whole.

    The same workers go from table to table. Of several targets each has its table, all from the
    same passes. Finished units are kept beside the tables until all are whole; a run that was
    broken off and is started again skips them.

    Args:
        plans: The tables.
        prepared_in: Location of the data set, tokenized with the models' own tokenizer.
        settings: Which edit.
        num_workers: Ray workers; 0 (or no Ray connection) works in this process.
        gpu_per_worker: GPUs, or a share of one, that each worker holds.
        wait_minutes: When to give up if no worker finds a place.
        preprocessing: How sequences are cropped, in place of what the models were trained with.
        trusted: Code besides our own that may run.
        progress: Called with the number of edits scored and about how many there are, over all
            tables.
        make_room: Called with the paths of a table, the CSV files, just before it goes there.

    Raises:
        ConfigError: The edit or the models do not go together.
        DataError: The data does not fit the models.
    """
    begun = time.monotonic()
    prepared = PreparedData.open(prepared_in)
    tables = [
        _table_work(plan, prepared, settings, preprocessing, trusted, use_gpu=gpu_per_worker > 0)
        for plan in plans
    ]
    _check_specifiers(settings, prepared.num_specifiers)
    for table in tables:
        table.job.parts.mkdir(parents=True, exist_ok=True)
    num_tokens = sum(unit.num_tokens for table in tables for unit in table.units)
    summaries: dict[int, LooSummary] = {}

    def write_if_whole(number: int) -> None:
        nonlocal begun
        if tables[number].is_whole:
            summaries[number] = tables[number].write(begun, make_room)
            begun = time.monotonic()

    def done(task: Task, result: UnitResult) -> None:
        tables[task.job].add(task.unit, result)
        if progress is not None:
            progress(*_positions(tables, num_tokens))
        write_if_whole(task.job)

    tasks = [Task(number, unit) for number, table in enumerate(tables) for unit in table.missing]
    for number in range(len(tables)):
        write_if_whole(number)
    score_units(
        [table.job for table in tables],
        tasks,
        done,
        num_workers=num_workers,
        gpu_per_worker=gpu_per_worker,
        wait_minutes=wait_minutes,
    )
    for table in tables:
        table.remove_parts()
    return [summaries[number] for number in range(len(tables))]


def _table_work(
    plan: ScoringPlan,
    prepared: PreparedData,
    settings: InterpretConfig,
    preprocessing: PreprocessingConfig | None,
    trusted: TrustedCode,
    *,
    use_gpu: bool,
) -> TableWork:
    """Cut a table's work into units; what an earlier run has finished of it is found."""
    out_csv, rows = plan.out_csv.absolute(), plan.rows
    folders = tuple(folder.absolute() for folder in plan.folders)
    key = work_key(folders, prepared.name, rows, settings, preprocessing)
    job = ScoringJob(
        model_folders=folders,
        prepared=prepared.location,
        settings=settings,
        preprocessing=preprocessing,
        trusted=trusted,
        parts=out_csv.parent / PARTS / key,
        use_gpu=use_gpu,
    )
    model, cost = _check_job(job, prepared)
    table = TableWork(
        job=job,
        units=make_units(rows, prepared.lengths[rows], model.framing.room, cost),
        targets=model.card.targets,
        out_csv=out_csv,
        unused_replacements=_unused(settings, model),
    )
    table.find_finished()
    return table


def _positions(tables: Sequence[TableWork], num_tokens: int) -> tuple[int, int]:
    """How many edits are scored, and how many there are: as many per token as so far."""
    num_done = sum(table.num_scores for table in tables)
    tokens_done = sum(table.num_tokens for table in tables)
    return num_done, round(num_done * num_tokens / max(1, tokens_done))


def _check_job(job: ScoringJob, prepared: PreparedData) -> tuple[SavedModel, Cost]:
    """Find here, before any worker starts, what would stop them all.

    Returns:
        The first model, without its weights, and what sequences cost by the path that it takes.
    """
    costs: list[Cost] = []

    def without_weights(model: SavedModel) -> SavedModel:
        is_local = model.spec.local_stack(model.module) is not None
        costs.append(incremental_cost if is_local else batched_cost)
        return replace(model, module=nn.Identity())

    models = load_models(job, without_weights)
    for model in models:
        check_fits(model, prepared)
    first = models[0]
    make_planner(job.settings, first.tokenizer)
    chosen_class(job.settings.class_name, first.card.targets)
    return first, costs[0]


def _check_specifiers(settings: InterpretConfig, num_specifiers: int) -> None:
    """Say where `replace_specifiers` can do nothing."""
    if not settings.replace_specifiers:
        return
    if settings.edit not in ("replace", "saturation"):
        log.warning(
            "interpret.replace_specifiers adds rows to replace and saturation only; it is not used "
            "with %s",
            settings.edit,
        )
    elif not num_specifiers:
        log.warning(
            "interpret.replace_specifiers adds no rows, since no token carries numbers; if they "
            "do, set data.specifier_separator (specifiersep)"
        )


def _unused(settings: InterpretConfig, model: SavedModel) -> tuple[str, ...]:
    if settings.edit != "replace":
        return ()
    return unused_replacements(settings.replacements, readable_vocabulary(model.tokenizer))
