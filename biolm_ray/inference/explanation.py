"""Leave-one-out scores of an experiment's own test rows, or of any file."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import Config, PreprocessingConfig
from biolm_ray.errors import ConfigError
from biolm_ray.inference.distribute import LooSummary, Progress, score_rows
from biolm_ray.inference.inputs import chosen_rows
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.outcome import rows_of

log = logging.getLogger("biolm_ray")


@dataclass(frozen=True)
class ScoringPlan:
    """One table of scores: which models score which rows, and where it goes."""

    folders: tuple[Path, ...]
    rows: Int[np.ndarray, " rows"]
    out_csv: Path


def plan_scoring(
    config: Config, folders: Sequence[Path], prepared: PreparedData
) -> list[ScoringPlan]:
    """Let each model score the test rows it never saw; a new file is scored by all of them.

    Raises:
        ConfigError: A fold is asked for that does not exist.
    """
    edit, window = config.interpret.edit, config.interpret.window
    name = f"loo_scores_{edit}.csv" if window == 1 else f"loo_scores_{edit}_window{window}.csv"
    own = {folder: rows_of(folder, prepared.name) for folder in folders}
    wanted = config.interpret.folds
    if wanted is not None and max(wanted) >= len(folders):
        raise ConfigError(
            f"interpret.folds asks for fold {max(wanted)}, but there are {len(folders)} models"
        )
    chosen = list(folders) if wanted is None else [folders[i] for i in wanted]
    if any(fold is None for fold in own.values()):
        out_csv = Path(config.output_path) / "interpret" / name
        return [ScoringPlan(tuple(chosen), chosen_rows(config, prepared), out_csv)]
    allowed = chosen_rows(config, prepared)
    plans = []
    for folder in chosen:
        fold = own[folder]
        assert fold is not None
        rows = fold.test if len(fold.test) else fold.validation
        if not len(fold.test):
            log.info("%s has no test rows; its validation rows are scored", folder)
        plans.append(ScoringPlan((folder,), np.intersect1d(rows, allowed), folder / name))
    return plans


def score_plans(
    config: Config,
    plans: Sequence[ScoringPlan],
    prepared: str,
    preprocessing: PreprocessingConfig,
    *,
    num_workers: int,
    gpu_per_worker: float,
    progress: Progress | None = None,
) -> list[LooSummary]:
    """Write the tables one after another, each spread over the workers.

    `progress` counts the edits of all tables.
    """
    total = sum(len(plan.rows) for plan in plans)
    log.info("scoring %d sequences (%s) on %d workers", total, config.interpret.edit, num_workers)
    lengths = np.minimum(PreparedData.open(prepared).lengths, preprocessing.block_size)
    num_tokens = [int(lengths[plan.rows].sum()) for plan in plans]
    summaries: list[LooSummary] = []
    for index, plan in enumerate(plans):
        summaries.append(
            score_rows(
                plan.folders,
                prepared,
                plan.rows,
                config.interpret,
                num_workers=num_workers,
                gpu_per_worker=gpu_per_worker,
                out_csv=plan.out_csv,
                preprocessing=preprocessing,
                progress=progress and counted_over_all(progress, summaries, num_tokens, index),
            )
        )
    return summaries


def counted_over_all(
    progress: Progress, summaries: Sequence[LooSummary], num_tokens: Sequence[int], index: int
) -> Progress:
    """Turn the progress of one table into that of all.

    Args:
        progress: Told how many edits are scored and about how many there are, over all tables.
        summaries: Of the tables before it.
        num_tokens: Of each table; those to come have as many edits to a token.
        index: Which table it is.
    """
    before = sum(summary.num_positions for summary in summaries)
    share = sum(num_tokens) / max(1, sum(num_tokens[: index + 1]))
    return lambda done, of_table: progress(before + done, round((before + of_table) * share))
