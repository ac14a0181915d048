"""What predict and interpret work on: trained models, and rows tokenized the way they learnt."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import Column, Config
from biolm_ray.data.columns import need_places
from biolm_ray.data.naming import name_for_files, without_places
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.data.splits import rows_in_splits
from biolm_ray.data.targets import Targets
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference.used_models import UsedModels
from biolm_ray.models.card import CARD_FILE
from biolm_ray.models.saved import SavedModel, is_model_folder, load_model
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.preparation.first_look import label_kind, look_at_data, no_model_in
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.results.contents import FINE_TUNE
from biolm_ray.results.manifest import MANIFEST, FoldRecord, Manifest, results_of
from biolm_ray.tokenization.fitting import make_settings
from biolm_ray.tokenization.tokenizer import SETTINGS_FILE, Tokenizer
from biolm_ray.training.outcome import why_unfinished
from biolm_ray.wording import counted

log = logging.getLogger("biolm_ray")


def model_folders(path: Path, *, allow_missing: bool = False) -> list[Path]:
    """Find the model, or the models of all folds, in a model or experiment folder.

    The manifest of the experiment says which they are. Where there is none, as in folders of the
    reference system, all that lie there are taken, and a warning says so.

    Args:
        path: Of a model, of an experiment or of its fine-tune folder.
        allow_missing: Give the finished models of an experiment that is not.

    Raises:
        ConfigError: There is none, or not all are finished.
        DataError: The manifest is damaged.
    """
    path = Path(os.path.normpath(path.absolute()))
    for way in dict.fromkeys((path, path.resolve())):
        output, manifest = results_of(way) or (way, Manifest())
        record = manifest.modes.get(FINE_TUNE)
        places = {output / fold.folder: fold for fold in record.folds} if record else {}
        for folder, fold in places.items():
            if same_place(path, folder):
                return _finished({folder: fold}, output, allow_missing=False)
        if record and any(same_place(path, place) for place in (output, output / FINE_TUNE)):
            if not places:
                raise no_model_in(path)
            return _finished(places, output, allow_missing=allow_missing)
        if manifest.moving is not None:
            raise ConfigError(
                f"{output}: a run was broken off while it moved earlier results to "
                f"{manifest.moving.to}; run it again, or set pretrainedmodel to that folder"
            )
    return _all_there(path)


def same_place(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to the same place, through whatever links."""
    return one.resolve() == other.resolve()


def _finished(folds: Mapping[Path, FoldRecord], output: Path, *, allow_missing: bool) -> list[Path]:
    """Keep the finished models of an experiment, and say or refuse that others are missing."""
    problems = {folder: why_unfinished(folder, fold.files) for folder, fold in folds.items()}
    found = [folder for folder, problem in problems.items() if problem is None]
    if len(found) == len(folds):
        return found
    missing = [fold.name or "the model" for folder, fold in folds.items() if problems[folder]]
    what = "the model" if len(folds) == 1 else f"{len(missing)} of {len(folds)} folds"
    named = "" if len(folds) == 1 else f" ({', '.join(missing)})"
    problem = next(filter(None, problems.values()))
    if allow_missing and found:
        log.warning(
            "%s: %s missing%s, as model.allow_missing_folds has it: %s",
            output,
            what,
            named,
            problem,
        )
        return found
    remedy = "train on with fine-tune --resume"
    if found:
        remedy += ", or set model.allow_missing_folds: true to use the others"
    raise ConfigError(f"{output}: {what} not finished{named}: {problem}; {remedy}")


def _all_there(path: Path) -> list[Path]:
    for folder in (path, path / FINE_TUNE):
        if is_model_folder(folder):
            _tell_unvouched(folder)
            return [folder]
    for parent in (path / FINE_TUNE, path):
        if parent.is_dir():
            children = {child.name: child for child in parent.iterdir()}
            children.pop("pre-train", None)
            found = {name: child for name, child in children.items() if is_model_folder(child)}
            if found:
                _refuse_without_weights(sorted(children.keys() - found.keys()), parent)
                _tell_unvouched(parent)
                return [found[name] for name in sorted_naturally(list(found))]
    raise no_model_in(path)


def _refuse_without_weights(names: Sequence[str], parent: Path) -> None:
    """Refuse to average without a fold that is there in part: its card comes last, so it was whole.

    Raises:
        DataError: One is.
    """
    for folder in (parent / name for name in names):
        if os.path.lexists(folder / CARD_FILE):
            raise DataError(
                f"{folder} has a {CARD_FILE}, but no weights ({WEIGHTS_FILE}) to be read: copy "
                "that folder once more from where it came from, or move it away to do without it"
            )


def _tell_unvouched(folder: Path) -> None:
    log.warning(
        "%s: no %s says which models belong together and are finished; all that lie there are used",
        folder,
        MANIFEST,
    )


@dataclass(frozen=True)
class ModelsFound:
    """The models of a run, and how they read sequences.

    Attributes:
        config: Of the run, with the task and preprocessing of the models.
        models: The folders of the models.
        tokenizer: Of the models, reading the run's data.
        room: Most tokens of a sequence that the models see.
    """

    config: Config
    models: UsedModels
    tokenizer: Tokenizer
    room: int


def find_models(config: Config) -> ModelsFound:
    """Find the models that a run names, and what they read the rows with.

    Raises:
        ConfigError: There are none, or settings of the run contradict them.
        DataError: A file of theirs is damaged, or the data lack a column of labels.
    """
    folders = model_folders(
        Path(config.model.pretrained or config.output_path),
        allow_missing=config.model.allow_missing_folds,
    )
    models, known = UsedModels(folders), label_kind(config)
    config, tokenizer, room = model_to_read_with(folders[0], config)
    if label_kind(config) != known:  # the model has told the task
        look_at_data(config)
    return ModelsFound(config, models, tokenizer, room)


def model_to_read_with(folder: Path, config: Config) -> tuple[Config, Tokenizer, int]:
    """Take task, preprocessing and tokenizer from a model, separators and columns from the run.

    Returns:
        What reads the rows, and how many tokens of a sequence the model sees.

    Raises:
        ConfigError: The run sets a preprocessing, task or label columns other than the model's.
    """
    model = _load(folder, config)
    card, task = model.card, model.card.targets.task
    if config.task not in {None, task}:
        raise ConfigError(f"task {config.task} asked for, but {folder} was trained for {task}")
    check_label_columns(config.data.label_columns, card.targets, folder)
    for name in sorted(config.preprocessing.model_fields_set):
        asked, trained = getattr(config.preprocessing, name), getattr(card.preprocessing, name)
        if asked != trained:
            raise ConfigError(
                f"preprocessing.{name} {asked} asked for, but {folder} was trained with {trained}; "
                "leave it out or set it to that"
            )
    config = config.model_copy(update={"task": task, "preprocessing": card.preprocessing})
    tokenizer = model.tokenizer.adapted(config.data, config.preprocessing)
    return config, tokenizer, model.framing.room


def check_label_columns(columns: Sequence[Column], targets: Targets, folder: Path) -> None:
    """Make sure that labels, where there are any, are those that a model predicts.

    Raises:
        ConfigError: There are more of them, or fewer, or they stand in another order.
    """
    if columns and len(columns) != len(targets.suffixes):
        found = counted(len(columns), "column")
        wanted = f"the targets {', '.join(targets.names)}" if targets.names else "a single target"
        raise ConfigError(
            f"labelpos names {found}, but {folder} predicts {wanted}: "
            "name a column for each target, or none"
        )
    names = tuple(name_for_files(column.name or "") for column in columns)
    # Columns may stand elsewhere than where those of the training stood.
    trained = without_places(targets.names) if need_places(names) else targets.names
    if sorted(names) != sorted(trained) or not all(names):
        return
    if names != trained:
        raise ConfigError(
            f"labelpos names {', '.join(names)}, but {folder} predicts "
            f"{', '.join(targets.names)}: name the columns in that order"
        )
    if len(set(names)) < len(names):
        log.warning(
            "labelpos names columns that are alike (%s): make sure that they stand in the order of "
            "the targets of %s (%s)",
            ", ".join(column.name or "" for column in columns),
            folder,
            ", ".join(targets.names),
        )


def _load(folder: Path, config: Config) -> SavedModel:
    """Load a model; a folder of the reference system does not tell how texts are read and cut."""
    if (folder / SETTINGS_FILE).is_file():
        return load_model(folder, trusted=config.model.trusted)
    return load_model(
        folder,
        trusted=config.model.trusted,
        preprocessing=config.preprocessing,
        settings=make_settings(config),
    )


def chosen_rows(config: Config, prepared: PreparedData) -> Int[np.ndarray, " rows"]:
    """Give the rows that inference is restricted to (inferenceonsplits), else all.

    Raises:
        ConfigError: Splits are named but there is no split column.
        DataError: A named split has no rows.
    """
    names: Sequence[str] | None = config.data.splits_to_use
    if names is None:
        return np.arange(prepared.num_rows)
    if prepared.splits is None:
        raise ConfigError("inferenceonsplits is set, but no split column (splitpos)")
    return rows_in_splits(prepared.splits, names)
