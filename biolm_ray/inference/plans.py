"""Which models score which rows: those of an experiment's own tests, or of any file."""

import glob
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import Config, InterpretConfig
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference.inputs import chosen_rows
from biolm_ray.inference.known_rows import (
    KEPT_ASIDE,
    TESTED,
    VALIDATED,
    KnownRows,
    find_known_rows,
    tell_known_rows,
)
from biolm_ray.inference.scores_file import ENDINGS, table_stem
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.wording import all_of, counted

log = logging.getLogger("biolm_ray")

INTERPRET, FINE_TUNE = "interpret", "fine-tune"
ALL_MODELS, ASIDE = "all_models", "kept_aside"


@dataclass(frozen=True)
class ScoringPlan:
    """One table of scores.

    Attributes:
        folders: One model, or several whose scores are averaged.
        rows: Which rows of the data set, each at most once, in the order of the table.
        out_csv: The table; of several targets each adds its name to the stem.
        title: What to call it among the others of a run.
    """

    folders: tuple[Path, ...]
    rows: Int[np.ndarray, " rows"]
    out_csv: Path
    title: str = ""


def plan_scoring(
    config: Config, folders: Sequence[Path], prepared: PreparedData
) -> list[ScoringPlan]:
    """Let each model score the test rows it never saw; new rows are scored by all of them.

    Raises:
        ConfigError: A fold is asked for that does not exist.
        DataError: There is no row for any of the models.
    """
    chosen = _chosen_folds(config.interpret.folds, folders)
    known = find_known_rows(folders, prepared, np.arange(prepared.num_rows))
    allowed = chosen_rows(config, prepared)
    if known.is_own:
        plans = _plan_own_rows(config, folders, chosen, known, allowed)
    else:
        plans = _plan_file(config, folders, chosen, known.of_rows(allowed), allowed)
    if not plans:
        raise DataError(
            f"{', '.join(prepared.manifest['files'])}: none of the rows{_in_splits(config)} is for "
            "these models to score; no table was changed"
        )
    return plans


def sequence_lengths(plans: Sequence[ScoringPlan], prepared: PreparedData) -> dict[str, int]:
    """Give how many tokens the scored sequences have, by their ids."""
    rows = np.unique(np.concatenate([plan.rows for plan in plans]))
    return dict(zip(prepared.ids_of(rows), prepared.lengths[rows].tolist(), strict=True))


def _in_splits(config: Config) -> str:
    names = config.data.splits_to_use
    return f" in the splits {', '.join(names)} (inferenceonsplits)" if names else ""


def _chosen_folds(wanted: Sequence[int] | None, folders: Sequence[Path]) -> list[int]:
    """Give the places of the folds asked for; of an unfinished experiment some may be missing."""
    if wanted is None:
        return list(range(len(folders)))
    names = [folder.name for folder in folders]
    numbered = len(folders) > 1 and all(map(str.isdecimal, names))
    places = {int(name) if numbered else place: place for place, name in enumerate(names)}
    missing = [fold for fold in wanted if fold not in places]
    if missing:
        raise ConfigError(
            f"interpret.folds asks for fold {missing[0]}, but there are "
            f"{counted(len(folders), 'model')}, numbered {', '.join(map(str, places))}"
        )
    return [places[fold] for fold in dict.fromkeys(wanted)]


def table_name(settings: InterpretConfig) -> str:
    """The name of a table of scores; of several targets each adds its own to the stem."""
    window = "" if settings.window == 1 else f"_window{settings.window}"
    return f"loo_scores_{settings.edit}{window}.csv"


def place_below(folder: Path, output: Path) -> Path | None:
    """Give the path below an output folder of a model that belongs to it; None for any other.

    Links are followed. The fine-tune folder of an experiment may itself be one, to another disk
    for example.
    """
    for root in (output, output / FINE_TUNE):
        if folder.resolve().is_relative_to(root.resolve()):
            return root / folder.resolve().relative_to(root.resolve())
    return None


def superseded(path: Path, plans: Sequence[ScoringPlan], output: Path) -> list[Path]:
    """List what of earlier runs cannot stay where a new table is.

    That are the table itself and what was made of it, what was made of it and others together,
    and, in the folder for other files, tables of the same name about other rows.

    Args:
        path: The table, the one of a target where there are several.
        plans: Of all tables of the run; their places are left to them.
        output: The output folder.
    """
    top, own = output / INTERPRET, {plan.out_csv.parent for plan in plans}
    others = [path.parent.parent]
    if path.parent == top / ASIDE:
        others = [output / FINE_TUNE]
    elif path.is_relative_to(top):
        # Hidden folders hold parts of tables, and the new one itself.
        children = (child for child in sorted(top.iterdir()) if not child.name.startswith("."))
        others = [top, *(child for child in children if child.name != ASIDE)]
    stem = glob.escape(table_stem(path))
    names = [f"{stem}{ending}" for ending in ("", *ENDINGS, ".bedgraph", "_class_*.bedgraph")]
    places = [path.parent, *(place for place in others if place not in own)]
    return [there for place in places for name in names for there in sorted(place.glob(name))]


def _plan_own_rows(
    config: Config,
    folders: Sequence[Path],
    chosen: list[int],
    known: KnownRows,
    allowed: Int[np.ndarray, " rows"],
) -> list[ScoringPlan]:
    """Each model scores its test rows, beside itself where it lies below the output path.

    Rows kept aside from all folds are scored by all models.
    """
    plans, left_out = [], []
    for number in chosen:
        folder, roles = folders[number], known.roles[number]
        role = TESTED
        if not (roles == TESTED).any():
            role = VALIDATED
            log.info("%s has no test rows; its validation rows are scored", folder)
        rows = np.intersect1d(np.flatnonzero(roles == role), allowed)
        if len(rows):
            path = _place_of_own(config, folders, folder) / table_name(config.interpret)
            plans.append(ScoringPlan((folder,), rows, path, f"fold {folder.name}"))
        else:
            left_out.append(folder)
    aside = np.intersect1d(np.flatnonzero((known.roles == KEPT_ASIDE).all(axis=0)), allowed)
    if len(aside):
        scored = f"{counted(len(aside), 'row')} kept aside, scored by"
        log.info("%s %s", scored, all_of(len(chosen), "model"))
    if plans and left_out:
        log.info("%s", _about_left_out(left_out, _in_splits(config)))
    if len(aside):
        path = Path(config.output_path) / INTERPRET / ASIDE / table_name(config.interpret)
        by_all = tuple(folders[number] for number in chosen)
        plans.append(ScoringPlan(by_all, aside, path, "rows kept aside"))
    return plans


def _about_left_out(left_out: Sequence[Path], in_splits: str) -> str:
    """Say which models score no row of theirs while others do."""
    names = ", ".join(map(str, left_out))
    if len(left_out) == 1:
        rest = "it is left out, and tables that it has stay as they are"
        return f"{names} has no test rows{in_splits}; {rest}"
    rest = "they are left out, and tables that they have stay as they are"
    return f"{names} have no test rows{in_splits}; {rest}"


def _place_of_own(config: Config, folders: Sequence[Path], folder: Path) -> Path:
    output = Path(config.output_path)
    elsewhere = output / INTERPRET / (folder.name if len(folders) > 1 else "")
    return place_below(folder, output) or elsewhere


def _plan_file(
    config: Config,
    folders: Sequence[Path],
    chosen: list[int],
    known: KnownRows,
    rows: Int[np.ndarray, " rows"],
) -> list[ScoringPlan]:
    """All models score rows that are new to them; others are scored as those of an experiment."""
    tell_known_rows(known, "scored")
    top, name = Path(config.output_path) / INTERPRET, table_name(config.interpret)
    seen_by_some, unseen = known.seen_by_some, ~known.seen
    new = rows[~seen_by_some]
    plans = []
    for number in chosen:
        mine = rows[seen_by_some & unseen[number]]
        if len(mine):
            folder = folders[number]
            path = top / folder.name / name
            plans.append(ScoringPlan((folder,), mine, path, f"fold {folder.name}"))
    if len(new):
        place = top / ALL_MODELS if plans else top
        by_all = tuple(folders[i] for i in chosen)
        plans.append(ScoringPlan(by_all, new, place / name, "rows that are new to the models"))
    num_left_out = int((seen_by_some & ~unseen[chosen].any(axis=0)).sum())
    if num_left_out:
        log.info(
            "left out: %s that only models outside of interpret.folds have not seen",
            counted(num_left_out, "row"),
        )
    return plans
