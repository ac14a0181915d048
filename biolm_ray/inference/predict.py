"""Predictions of prepared rows by one model or several."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.models.batches import RowBatches
from biolm_ray.models.saved import SavedModel
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.evaluate import (
    PREDICTION_BATCH_TOKENS,
    Outputs,
    Predictions,
    model_outputs,
    to_predictions,
)
from biolm_ray.training.finite import check_finite

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

    Raises:
        DataError: A prediction is not a finite number.
    """
    check_fits(model, prepared)
    outputs = model_outputs(
        model.module,
        RowBatches(prepared, model.framing),
        rows,
        num_outputs=model.card.targets.num_outputs,
        batch_tokens=batch_tokens,
        device=device,
        progress=progress,
    )
    return checked_predictions(model, outputs, prepared, rows)


def checked_predictions(
    model: SavedModel, outputs: Outputs, prepared: PreparedData, rows: Int[np.ndarray, " rows"]
) -> Predictions:
    """Turn a model's outputs for some rows into predictions.

    Raises:
        DataError: One is not a finite number.
    """
    predictions = to_predictions(outputs, model.card.targets)
    check_finite(predictions, outputs, prepared, rows, f"model {model.folder}")
    return predictions


class MeanPredictions(NamedTuple):
    """Predictions of rows by several models, each row by those that may predict it.

    Attributes:
        mean: Over the models.
        deviation: Of a sample; NaN where one model predicts, None where there is only one.
        num_models: How many models have predicted each row.
    """

    mean: Predictions
    deviation: Predictions | None
    num_models: Int[np.ndarray, " rows"]


def predict_with_models(
    models: Sequence[SavedModel],
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    may_predict: Bool[np.ndarray, "models rows"] | None = None,
    *,
    batch_tokens: int = PREDICTION_BATCH_TOKENS,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> MeanPredictions:
    """Average the predictions of the models that may predict a row: all, unless told otherwise.

    Each model is done with all its rows before the next one begins; `progress` counts a row once
    per model.
    """
    if may_predict is None:
        may_predict = np.ones((len(models), len(rows)), dtype=bool)
    shape = (len(models), len(rows), models[0].card.targets.num_outputs)
    each, num_done = np.full(shape, np.nan), 0
    for index, model in enumerate(models):
        mine = np.flatnonzero(may_predict[index])
        each[index, mine] = predict_rows(
            model,
            prepared,
            rows[mine],
            batch_tokens=batch_tokens,
            device=device,
            progress=_counted_on(progress, num_done, int(may_predict.sum())),
        )
        num_done += len(mine)
    return averaged(each, may_predict)


def averaged(
    each: Float[np.ndarray, "models rows outputs"], may_predict: Bool[np.ndarray, "models rows"]
) -> MeanPredictions:
    """Average rows together that the same models predict."""
    mean, deviation = np.empty(each.shape[1:]), np.full(each.shape[1:], np.nan)
    crews, inverse = np.unique(may_predict, axis=1, return_inverse=True)
    crew_of_row = inverse.reshape(-1)
    for number, crew in enumerate(crews.T):
        rows = np.flatnonzero(crew_of_row == number)
        some = each[np.ix_(np.flatnonzero(crew), rows)]
        mean[rows] = some.mean(axis=0)
        if len(some) > 1:
            deviation[rows] = some.std(axis=0, ddof=1)
    return MeanPredictions(
        mean, deviation if len(each) > 1 else None, may_predict.sum(axis=0, dtype=np.int64)
    )


def _counted_on(progress: Progress | None, num_before: int, num_all: int) -> Progress | None:
    """Turn the rows that one model has done into those that all models have done."""
    if progress is None:
        return None
    return lambda done, rows: progress(num_before + done, num_all)


def _describe(model: SavedModel) -> str:
    targets = model.card.targets
    if targets.classes:
        return f"the classes {', '.join(targets.classes)}"
    return f"the targets {', '.join(targets.names)}" if targets.names else "a number"
