"""Predictions of prepared rows by one model or several."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.models.saved import SavedModel
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.evaluate import Outputs, Predictions, to_predictions
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


def _describe(model: SavedModel) -> str:
    targets = model.card.targets
    if targets.classes:
        return f"the classes {', '.join(targets.classes)}"
    return f"the targets {', '.join(targets.names)}" if targets.names else "a number"
