"""Which models score which rows: those of an experiment's own tests, or of any file."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import Config
from biolm_ray.errors import ConfigError
from biolm_ray.inference.inputs import chosen_rows
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.outcome import rows_of

log = logging.getLogger("biolm_ray")


@dataclass(frozen=True)
class ScoringPlan:
    """One table of scores.

    Attributes:
        folders: One model, or several whose scores are averaged.
        rows: Which rows of the data set, each at most once, in the order of the table.
        out_csv: The table; of several targets each adds its name to the stem.
    """

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
