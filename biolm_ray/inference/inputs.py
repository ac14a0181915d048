"""What predict and interpret work on: trained models, and rows tokenized the way they learnt."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import Column, Config
from biolm_ray.data.naming import name_for_files
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.data.splits import rows_in_splits
from biolm_ray.data.targets import Targets
from biolm_ray.errors import ConfigError
from biolm_ray.models.saved import SavedModel, is_model_folder, load_model
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.tokenization.fitting import make_settings
from biolm_ray.tokenization.tokenizer import SETTINGS_FILE, Tokenizer


def model_folders(path: Path) -> list[Path]:
    """Find the model, or the models of all folds, in a model or experiment folder.

    Raises:
        ConfigError: There is none.
    """
    for folder in (path, path / "fine-tune"):
        if is_model_folder(folder):
            return [folder]
    for parent in (path / "fine-tune", path):
        if parent.is_dir():
            found = {child.name: child for child in parent.iterdir() if is_model_folder(child)}
            found.pop("pre-train", None)
            if found:
                return [found[name] for name in sorted_naturally(list(found))]
    raise ConfigError(
        f"no fine-tuned model in {path}: set pretrainedmodel to the folder of a model or of an "
        "experiment (one with models in its fine-tune folder), or outputpath to that of an "
        "experiment, whose models are then used"
    )


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
        found = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
        wanted = f"the targets {', '.join(targets.names)}" if targets.names else "a single target"
        raise ConfigError(
            f"labelpos names {found}, but {folder} predicts {wanted}: "
            "name a column for each target, or none"
        )
    names = tuple(name_for_files(column.name or "") for column in columns)
    if names != targets.names and set(names) == set(targets.names):
        raise ConfigError(
            f"labelpos names {', '.join(names)}, but {folder} predicts "
            f"{', '.join(targets.names)}: name the columns in that order"
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
