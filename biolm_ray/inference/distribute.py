"""Leave-one-out scores of many sequences, spread over Ray workers or made right here."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from jaxtyping import Int
from ray.exceptions import RayActorError, RayTaskError
from ray.util import ActorPool

from biolm_ray.config.schema import InterpretConfig, PreprocessingConfig
from biolm_ray.errors import BiolmError, ResourceError
from biolm_ray.files import atomic_path
from biolm_ray.inference.leave_one_out import make_planner
from biolm_ray.inference.predict import check_fits
from biolm_ray.inference.replacements import readable_vocabulary, unused_replacements
from biolm_ray.inference.score_table import score_columns
from biolm_ray.inference.scorer import ScoringJob, UnitScorer, load_models
from biolm_ray.inference.units import (
    Unit,
    UnitResult,
    finished_unit,
    make_units,
    table_path,
    work_key,
)
from biolm_ray.models.saved import SavedModel
from biolm_ray.preparation.prepared import PreparedData

Progress = Callable[[int, int], None]

PARTS = ".loo_parts"
RESTARTS = 3


@dataclass(frozen=True, kw_only=True)
class LooSummary:
    """What a finished scoring run has to say.

    Attributes:
        num_positions: Scored edits, the rows of the table.
        num_reused: Those of them that an earlier run, broken off, had already scored.
        seconds: Wall time of this run.
        largest_difference: Largest deviation of a score from its independent recomputation.
        paths: The table, or one for each target.
        unused_replacements: Keys of the replacement dictionary that no token can match.
    """

    num_sequences: int
    num_positions: int
    num_reused: int
    seconds: float
    largest_difference: float
    paths: tuple[Path, ...]
    unused_replacements: tuple[str, ...] = ()

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
        progress: Called with the number of tokens done and the number of all tokens.

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
    first_model = _check_job(job, prepared)
    units = make_units(rows, prepared.lengths[rows], first_model.framing.room)
    targets = first_model.card.targets
    found = [finished_unit(job.parts, unit, targets.suffixes) for unit in units]
    reused = [result for result in found if result is not None]
    missing = [unit for unit, result in zip(units, found, strict=True) if result is None]
    finished = _score_units(job, missing, num_workers, gpu_per_worker)
    results = reused + list(_watched(finished, units, reused, progress))
    columns = score_columns(settings.edit, targets, len(folders))
    tables = {s: out_csv.with_stem(f"{out_csv.stem}{s}") for s in targets.suffixes}
    for suffix, path in tables.items():
        merge_tables([table_path(job.parts, unit, suffix) for unit in units], columns, path)
    shutil.rmtree(job.parts)
    if not any(job.parts.parent.iterdir()):
        job.parts.parent.rmdir()
    return LooSummary(
        num_sequences=len(rows),
        num_positions=sum(result.num_scores for result in results),
        num_reused=sum(result.num_scores for result in reused),
        seconds=time.monotonic() - started,
        largest_difference=max((result.largest_difference for result in results), default=0.0),
        paths=tuple(tables.values()),
        unused_replacements=_unused(settings, first_model),
    )


def merge_tables(parts: Sequence[Path], columns: Sequence[str], path: Path) -> None:
    """Write the parts one after another below one header, never holding more than a piece."""
    header = pd.DataFrame(columns=list(columns)).to_csv(index=False)
    with atomic_path(path) as temporary, temporary.open("wb") as whole:
        whole.write(header.encode("utf-8"))
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, whole)


def _check_job(job: ScoringJob, prepared: PreparedData) -> SavedModel:
    """Find here, before any worker starts, what would stop them all; give the first model."""
    models = load_models(job, with_weights=False)
    for model in models:
        check_fits(model, prepared)
    make_planner(job.settings, models[0].tokenizer)
    return models[0]


def _unused(settings: InterpretConfig, model: SavedModel) -> tuple[str, ...]:
    if settings.edit != "replace":
        return ()
    return unused_replacements(settings.replacements, readable_vocabulary(model.tokenizer))


def _score_units(
    job: ScoringJob, units: list[Unit], num_workers: int, gpu_per_worker: float
) -> Iterator[UnitResult]:
    job.parts.mkdir(parents=True, exist_ok=True)
    if not units:
        return iter(())
    if num_workers == 0 or not ray.is_initialized():
        return map(UnitScorer(job).score, units)
    return _score_on_workers(job, units, min(num_workers, len(units)), gpu_per_worker)


def _watched(
    finished: Iterator[UnitResult],
    units: list[Unit],
    reused: list[UnitResult],
    progress: Progress | None,
) -> Iterator[UnitResult]:
    """Pass results on, telling how many tokens are done after each."""
    total = sum(unit.num_tokens for unit in units)
    done = sum(result.num_tokens for result in reused)
    for result in finished:
        done += result.num_tokens
        if progress is not None:
            progress(done, total)
        yield result


def _score_on_workers(
    job: ScoringJob, units: list[Unit], num_workers: int, gpu_per_worker: float
) -> Iterator[UnitResult]:
    """Yield results as they come; the dearest units go first, so that none is left for the end.

    A worker that dies is started again and its unit with it, at most RESTARTS times.
    """
    remote_class: Any = ray.remote(
        num_cpus=1,
        num_gpus=gpu_per_worker,
        max_restarts=RESTARTS,
        max_task_retries=RESTARTS,
    )(UnitScorer)
    actors = [remote_class.remote(replace(job, num_threads=1)) for _ in range(num_workers)]
    ordered = sorted(units, key=lambda unit: unit.cost, reverse=True)
    pool = ActorPool(actors)
    results: Any = pool.map_unordered(lambda actor, unit: actor.score.remote(unit), ordered)
    try:
        yield from results
    except RayTaskError as error:
        if isinstance(error.cause, BiolmError):
            raise error.cause from None
        raise
    except RayActorError as error:
        raise ResourceError(
            f"scoring workers keep dying ({str(error).splitlines()[0][:200]}); what is finished "
            "is kept: run the same command again, with fewer workers if memory ran out"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)
