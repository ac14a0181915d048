"""What a run says first: what it takes where nothing is set, and what it cannot follow."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biolm_ray.config.schema import Config, PreprocessingConfig
from biolm_ray.data.copies import copies_in_training, judged_rows
from biolm_ray.data.splits import Fold
from biolm_ray.models.registry import find_model
from biolm_ray.models.spec import ModelSpec
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_hashes import row_hashes
from biolm_ray.training.fold import fold_settings
from biolm_ray.training.settings import LoopSettings, loop_settings
from biolm_ray.wording import counted, part_of

log = logging.getLogger("biolm_ray")

RECIPE = ("batch_size", "num_epochs", "patience", "learning_rate", "schedule", "stop_metric")


def say_what_runs(config: Config, *, beside_data: bool) -> None:
    """Say what is made of which data, and what may surprise in that.

    Args:
        config: Of the run.
        beside_data: Whether the results go beside the data, as without a setting.
    """
    # Tables of interpret lie beside the models, too: the folder of all is true of every mode.
    log.info("%s: %s -> %s", config.mode, ", ".join(config.data.paths), config.output_path)
    if config.data.max_rows is not None:
        rows = counted(config.data.max_rows, "row")
        log.warning("only the first %s will be read (data.max_rows, also set by dev)", rows)
    if beside_data:
        log.info(
            "results go beside the data, to %s; another folder: outputpath", config.output_path
        )


def say_assumptions(config: Config, weights: Path | None) -> None:
    """Say what a training takes from its model's recipe, starts from, and does not follow.

    Args:
        config: Of the run, with its model chosen.
        weights: Those it starts from, if any.
    """
    spec, options = find_model(config.model)
    if recipe := recipe_line(config, spec, loop_settings_of(config)):
        log.info("%s", recipe)
    if warning := fresh_weights_warning(config, spec, options, weights):
        log.warning("%s", warning)
    if config.task == "classification" and config.training.scaling != "none":
        log.info("scaling %s is for regression: classes are not scaled", config.training.scaling)


def recipe_line(config: Config, spec: ModelSpec, settings: LoopSettings) -> str | None:
    """Name the values taken from a model's recipe; None where the configuration sets them all."""
    searched = {name.rpartition(".")[2] for name in config.tune.space}
    taken = {
        name: getattr(settings, name)
        for name in RECIPE
        if getattr(config.training, name) is None and name not in searched
    }
    if type(config.training.resume) is int:
        taken.pop("num_epochs", None)
    if not taken:
        return None
    values = ", ".join(f"{name} {_shown(value)}" for name, value in taken.items())
    line = f"not set, so as in the recipe of model {spec.name}: {values}"
    if taken.get("stop_metric", "loss") != "loss":
        line += " of the validation rows (biolm_utils stops on their loss: stop_metric: loss)"
    return line


def fresh_weights_warning(
    config: Config, spec: ModelSpec, options: Any, weights: Path | None
) -> str | None:
    """Say that a model made to be pre-trained is fine-tuned without; None where it is meant so."""
    training, model = config.training, config.model
    continues = type(training.resume) is int
    has_weights = weights is not None or continues or spec.starts_trained(options)
    if config.mode == "pre-train" or spec.pretraining is None or has_weights or model.from_scratch:
        return None
    reason = f"{config.output_path} has no pre-train folder with a model: run pre-train first"
    if model.pretrained is not None:
        reason = f"pretrainedmodel {model.pretrained} has a tokenizer only: name a model"
    return (
        f"model {spec.name} starts from fresh weights, since {reason}, or set fromscratch: true "
        "to mean it"
    )


def say_batches(config: Config, num_rows: int) -> None:
    """Say that a batch is larger than all the rows there are to train on."""
    batch_size = loop_settings_of(config).batch_size
    if batch_size > num_rows:
        log.info(
            "batchsize %d is more than the %s: a batch takes all of them",
            batch_size,
            counted(num_rows, "training row"),
        )


def say_center(preprocessing: PreprocessingConfig, prepared: PreparedData) -> None:
    """Say how many rows are cut around their centre token; warn where none has it."""
    center, num_rows = preprocessing.center_token, len(prepared)
    if center is None:
        return
    num_centered, side = prepared.num_centered, preprocessing.cut_side
    rows = counted(num_rows, "row")
    message = "centertoken '%s' stands in %d of %s; those without it are cut on the %s"
    if num_centered == 0:
        log.warning(f"{message}. Is it spelled as in the file?", center, 0, rows, side)
    elif num_centered < num_rows:
        log.info(message, center, num_centered, rows, side)


def say_cut(prepared: PreparedData, room: int) -> None:
    """Warn where every sequence is cut to the block size, and say how much is never seen."""
    lengths = prepared.lengths
    if not len(lengths) or lengths.min() <= room:
        return
    lost = 1 - room * len(lengths) / lengths.sum()
    log.warning(
        "every sequence is longer than the block size and is cut to %s: %.0f %% of all tokens are "
        "never seen; set preprocessing.block_size (blocksize) to as much as the model and the "
        "memory allow (half of the sequences have more than %s tokens, the longest %s)",
        counted(room, "token"),
        100 * lost,
        f"{int(np.median(lengths)):,}",
        f"{int(lengths.max()):,}",
    )


def say_copies(config: Config, prepared: PreparedData, folds: Sequence[Fold]) -> None:
    """Warn of rows that judge a model although it is trained on the same sequence.

    The sequences of streamed data are not compared, since all of them would have to be read.
    """
    if config.training.feed == "streaming":
        log.info("streamed data: not looked up whether a sequence stands in training and test")
        return
    sequences = row_hashes(prepared, np.arange(prepared.num_rows))[:, 1]
    copies = copies_in_training(folds, sequences)
    if not copies:
        return
    num_judged = len(np.unique(np.concatenate([judged_rows(fold) for fold in folds])))
    first, second = prepared.ids_of(np.array(min(copies.items())))
    part = "test" if len(folds[0].test) else "validation"
    log.warning(
        "%s the same sequence as a training row of the same fold ('%s' as '%s'), "
        "so that a model may know it by heart and the scores are too good; keep one of each, or "
        "have copies in the same split (splitpos)",
        part_of(len(copies), num_judged, f"{part} row", ("has", "have")),
        first,
        second,
    )


def loop_settings_of(config: Config) -> LoopSettings:
    """Fill in the settings of the training loop, once the model is chosen."""
    spec, options = find_model(config.model)
    if config.mode == "pre-train":
        return loop_settings(config.training, spec.recipe(options), fold=0, default_metric="loss")
    return fold_settings(config, spec, options, 0)


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
