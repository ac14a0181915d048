"""What predict and interpret work on: trained models, and rows tokenized the way they learnt."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import Config
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.data.splits import rows_in_splits
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
        f"no fine-tuned model in {path}; give a model folder, or an experiment whose fine-tune "
        "folder holds models"
    )


def model_to_read_with(folder: Path, config: Config) -> tuple[Config, Tokenizer]:
    """Take task, preprocessing and tokenizer from a model, separators and columns from the run.

    Raises:
        ConfigError: The run sets a preprocessing or task other than the model's.
    """
    model = _load(folder, config)
    card, task = model.card, model.card.targets.task
    if config.task not in {None, task}:
        raise ConfigError(f"task {config.task} asked for, but {folder} was trained for {task}")
    for name in sorted(config.preprocessing.model_fields_set):
        asked, trained = getattr(config.preprocessing, name), getattr(card.preprocessing, name)
        if asked != trained:
            raise ConfigError(
                f"preprocessing.{name} {asked} asked for, but {folder} was trained with {trained}; "
                "leave it out or set it to that"
            )
    config = config.model_copy(update={"task": task, "preprocessing": card.preprocessing})
    return config, model.tokenizer.adapted(config.data, config.preprocessing)


def _load(folder: Path, config: Config) -> SavedModel:
    """Load a model; a folder of the reference system does not tell how texts are read and cut."""
    if (folder / SETTINGS_FILE).is_file():
        return load_model(folder)
    return load_model(folder, preprocessing=config.preprocessing, settings=make_settings(config))


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
