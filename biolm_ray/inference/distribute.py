"""Leave-one-out scores of many sequences, spread over Ray workers or made right here."""

import gzip
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pandas as pd
from jaxtyping import Int
from torch import nn

from biolm_ray.config.schema import InterpretConfig, PreprocessingConfig
from biolm_ray.data.targets import Targets
from biolm_ray.files import atomic_path
from biolm_ray.inference.leave_one_out import make_planner
from biolm_ray.inference.predict import check_fits
from biolm_ray.inference.replacements import readable_vocabulary, unused_replacements
from biolm_ray.inference.score_table import chosen_class, score_columns
from biolm_ray.inference.scorer import ScoringJob, load_models
from biolm_ray.inference.scores_file import ScoresMetadata, merge_parts, scores_schema
from biolm_ray.inference.spreading import score_units
from biolm_ray.inference.units import (
    Cost,
    Unit,
    UnitResult,
    batched_cost,
    finished_unit,
    incremental_cost,
    make_units,
    table_path,
    work_key,
)
from biolm_ray.models.saved import SavedModel
from biolm_ray.preparation.prepared import PreparedData

Progress = Callable[[int, int], None]

PARTS = ".loo_parts"


@dataclass(frozen=True, kw_only=True)
class LooSummary:
    """What a finished scoring run has to say.

    Attributes:
        num_positions: Scored edits, the rows of the table.
        num_reused: Those of them that an earlier run, broken off, had already scored.
        seconds: Wall time of this run.
        largest_difference: Largest deviation of a score from its independent recomputation.
        num_redone: How many times a model's fast path was found wrong on a sequence, so that whole
            passes took its place.
        paths: The CSV table, or one for each target; a parquet file stands beside each.
        noise_floors: The noise floor of each table (see `noise_floors`); none for a single model.
        unused_replacements: Keys of the replacement dictionary that no token can match.
        notes: What else the user should be told, in sentences, each once.
    """

    num_sequences: int
    num_positions: int
    num_reused: int
    seconds: float
    largest_difference: float
    num_redone: int
    paths: tuple[Path, ...]
    noise_floors: tuple[float, ...] = ()
    unused_replacements: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The table; of several targets that of the first."""
        return self.paths[0]


def score_rows(
    model_folders: Sequence[Path],
    prepared_in: str | Path,
    rows: Int[np.ndarray, " rows"],
    settings: InterpretConfig,
    *,
    num_workers: int,
    out_csv: Path,
    gpu_per_worker: float = 0.0,
    preprocessing: PreprocessingConfig | None = None,
    progress: Progress | None = None,
) -> LooSummary:
    """Score rows of a prepared data set and write one table, in the order of `rows`.

    Of several targets each has its table, all from the same passes. Finished units are kept beside
    the tables until they are whole; a run that was broken off and is started again skips them.

    Args:
        model_folders: One model, or several whose scores are averaged.
        prepared_in: Location of the data set, tokenized with the models' own tokenizer.
        rows: Which rows, each at most once.
        settings: Which edit.
        num_workers: Ray workers; 0 (or no Ray connection) works in this process.
        out_csv: The table; of several targets each adds its name to the stem.
        gpu_per_worker: GPUs, or a share of one, that each worker holds.
        preprocessing: How sequences are cropped, in place of what the models were trained with.
        progress: Called with the number of edits scored and about how many there are.

    Raises:
        ConfigError: The edit or the models do not go together.
        DataError: The data does not fit the models.
    """
    started = time.monotonic()
    out_csv = out_csv.absolute()
    folders = tuple(folder.absolute() for folder in model_folders)
    prepared = PreparedData.open(prepared_in)
    key = work_key(folders, prepared.name, rows, settings, preprocessing)
    job = ScoringJob(
        model_folders=folders,
        prepared=prepared.location,
        settings=settings,
        preprocessing=preprocessing,
        parts=out_csv.parent / PARTS / key,
        use_gpu=gpu_per_worker > 0,
    )
    first_model, cost = _check_job(job, prepared)
    targets = first_model.card.targets
    units = make_units(rows, prepared.lengths[rows], first_model.framing.room, cost)
    found = [finished_unit(job.parts, unit, targets.suffixes) for unit in units]
    results = [result for result in found if result is not None]
    num_reused = sum(result.num_scores for result in results)
    missing = [unit for unit, result in zip(units, found, strict=True) if result is None]
    job.parts.mkdir(parents=True, exist_ok=True)

    def done(result: UnitResult) -> None:
        results.append(result)
        if progress is not None:
            progress(*_positions(results, units))

    score_units(job, missing, done, num_workers=num_workers, gpu_per_worker=gpu_per_worker)
    tables = _write_tables(job, units, results, targets, out_csv)
    shutil.rmtree(job.parts)
    if not any(job.parts.parent.iterdir()):
        job.parts.parent.rmdir()
    return LooSummary(
        num_sequences=len(rows),
        num_positions=sum(result.num_scores for result in results),
        num_reused=num_reused,
        seconds=time.monotonic() - started,
        largest_difference=_largest_difference(results),
        num_redone=sum(result.num_redone for result in results),
        paths=tuple(tables),
        noise_floors=noise_floors(results, len(folders)),
        unused_replacements=_unused(settings, first_model),
        notes=tuple(sorted({note for result in results for note in result.notes})),
    )


def merge_tables(parts: Sequence[Path], columns: Sequence[str], path: Path) -> None:
    """Write the parts one after another below one header, never holding more than a piece.

    A path that ends in .gz is compressed; the same parts always give the same bytes.
    """
    header = pd.DataFrame(columns=list(columns)).to_csv(index=False)
    with atomic_path(path) as temporary, _opened(temporary) as whole:
        whole.write(header.encode("utf-8"))
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, whole)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as stream:
        if path.suffix != ".gz":
            yield stream
            return
        with gzip.GzipFile("", "wb", 6, stream, mtime=0) as compressed:
            yield cast(BinaryIO, compressed)


def noise_floors(results: Sequence[UnitResult], num_models: int) -> tuple[float, ...]:
    """Give the noise floor of each table; none for a single model.

    It is the standard error of a mean score: the root of the mean, over all rows of the table, of
    the variance over the models, divided by their number.
    """
    num_scores = sum(result.num_scores for result in results)
    if num_models < 2 or not num_scores:
        return ()
    # The sum is exact, so that it does not depend on the order in which workers finish.
    by_table = zip(*(result.squared_deviations for result in results), strict=True)
    return tuple(math.sqrt(math.fsum(sums) / num_scores / num_models) for sums in by_table)


def _write_tables(
    job: ScoringJob,
    units: Sequence[Unit],
    results: Sequence[UnitResult],
    targets: Targets,
    out_csv: Path,
) -> list[Path]:
    """Bring the parts together, in the order of the input; give the CSV of each target."""
    settings, num_models = job.settings, len(job.model_folders)
    columns = score_columns(settings.edit, targets, num_models)
    floors = noise_floors(results, num_models)
    paths = []
    for index, suffix in enumerate(targets.suffixes):
        path = out_csv.with_stem(f"{out_csv.stem}{suffix}")
        metadata = ScoresMetadata(
            edit=settings.edit,
            window=settings.window,
            task=targets.task,
            target=targets.names[index] if targets.names else "",
            classes=targets.classes or (),
            class_name=settings.class_name,
            num_models=num_models,
            largest_difference=_largest_difference(results),
            noise_floor=floors[index] if floors else None,
        )
        typed = [table_path(job.parts, unit, suffix, ".parquet") for unit in units]
        merge_parts(
            typed, path.with_suffix(".parquet"), scores_schema(targets, num_models), metadata
        )
        if settings.compress:
            path = path.with_name(f"{path.name}.gz")
        merge_tables([table_path(job.parts, unit, suffix) for unit in units], columns, path)
        paths.append(path)
    return paths


def _largest_difference(results: Sequence[UnitResult]) -> float:
    return max((result.largest_difference for result in results), default=0.0)


def _positions(results: Sequence[UnitResult], units: Sequence[Unit]) -> tuple[int, int]:
    """How many edits are scored, and how many there are: as many per token as so far."""
    num_done = sum(result.num_scores for result in results)
    tokens_done = sum(result.num_tokens for result in results)
    all_tokens = sum(unit.num_tokens for unit in units)
    return num_done, round(num_done * all_tokens / max(1, tokens_done))


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


def _unused(settings: InterpretConfig, model: SavedModel) -> tuple[str, ...]:
    if settings.edit != "replace":
        return ()
    return unused_replacements(settings.replacements, readable_vocabulary(model.tokenizer))
