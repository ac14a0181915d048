"""Predictions of prepared rows by one model or several."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.models.batches import RowBatches
from biolm_ray.models.saved import SavedModel
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.evaluate import (
    PREDICTION_BATCH_TOKENS,
    Predictions,
    model_outputs,
    to_predictions,
)

Progress = Callable[[int, int], None]


def check_fits(model: SavedModel, prepared: PreparedData) -> None:
    """Make sure that a data set has the channels a model was built for.

    Raises:
        DataError: The number of specifiers per token differs.
    """
    wanted, found = model.card.inputs.num_specifiers, prepared.num_specifiers
    if wanted != found:
        raise DataError(
            f"the tokens of the data carry {found} specifier values, but model {model.card.model} "
            f"was trained on {wanted}; check specifiersep, or use a model trained on such data"
        )


def check_same_tokens(models: Sequence[SavedModel], names: Sequence[str]) -> None:
    """Make sure that several models read the same tokens and predict the same thing.

    Args:
        models: All models of one prediction.
        names: How to call each of them in a message.

    Raises:
        ConfigError: The vocabularies, tasks, targets or classes of two models differ.
    """
    first = models[0]
    for model, name in zip(models[1:], names[1:], strict=True):
        if model.tokenizer.vocabulary != first.tokenizer.vocabulary:
            raise ConfigError(
                f"{name} and {names[0]} have different vocabularies, so their predictions cannot "
                "be averaged; give one of them, or models of one experiment"
            )
        ours, theirs = first.card.targets, model.card.targets
        if (ours.task, ours.classes, ours.names) != (theirs.task, theirs.classes, theirs.names):
            raise ConfigError(
                f"{name} predicts {_describe(model)}, {names[0]} predicts {_describe(first)}; "
                "models whose predictions are averaged must predict the same"
            )


def predict_rows(
    model: SavedModel,
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    *,
    batch_tokens: int = PREDICTION_BATCH_TOKENS,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Predictions:
    """Predict in the units of the labels, or the probability of each class, in the order of rows.

    Args:
        model: Its module is on `device`.
        prepared: Tokenized with the model's own tokenizer.
        rows: Which rows of `prepared`.
        batch_tokens: Most tokens in one forward pass.
        device: Where the module is.
        progress: Called after each batch with the number of rows done and of all rows.
    """
    check_fits(model, prepared)
    targets = model.card.targets
    outputs = model_outputs(
        model.module,
        RowBatches(prepared, model.framing),
        rows,
        num_outputs=targets.num_outputs,
        batch_tokens=batch_tokens,
        device=device,
        progress=progress,
    )
    return to_predictions(outputs, targets)


def predict_with_models(
    models: Sequence[SavedModel],
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    *,
    batch_tokens: int = PREDICTION_BATCH_TOKENS,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[Predictions, Predictions | None]:
    """Give the mean over models and their sample deviation (None for a single model).

    Each model is done with all rows before the next one begins; `progress` counts a row once per
    model.
    """
    each = np.stack(
        [
            predict_rows(
                model,
                prepared,
                rows,
                batch_tokens=batch_tokens,
                device=device,
                progress=_counted_on(progress, index, len(models)),
            )
            for index, model in enumerate(models)
        ]
    )
    return each.mean(axis=0), each.std(axis=0, ddof=1) if len(models) > 1 else None


def _counted_on(progress: Progress | None, index: int, num_models: int) -> Progress | None:
    """Turn the rows that one model has done into those that all models have done."""
    if progress is None:
        return None
    return lambda done, rows: progress(index * rows + done, num_models * rows)


def _describe(model: SavedModel) -> str:
    targets = model.card.targets
    if targets.classes:
        return f"the classes {', '.join(targets.classes)}"
    return f"the targets {', '.join(targets.names)}" if targets.names else "a number"
