"""Losses and predictions that are no finite numbers: where they arose, and the likely reason."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int
from torch import nn

from biolm_ray.errors import BiolmError, DataError
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.evaluate import Outputs, Predictions
from biolm_ray.wording import part_of

LARGE = 1e6
"""Numbers of tokens beyond this are named as the likely reason: models expect some near 1."""
DIVERGED = "try a smaller learning rate (training.learning_rate)"


def check_finite(
    predictions: Predictions,
    outputs: Outputs,
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    who: str,
    error: type[BiolmError] = DataError,
) -> None:
    """Make sure that all predictions are numbers.

    Args:
        predictions: In the units of the labels, or probabilities.
        outputs: Of the model, which they were made of.
        prepared: The data set.
        rows: Which rows of it.
        who: The model, for the message.
        error: What is raised.

    Raises:
        BiolmError: Some are not; says how many, the first of them, and what may be the reason.
    """
    bad = np.flatnonzero(~np.isfinite(predictions).all(axis=1))
    if len(bad):
        row = int(rows[bad[0]])
        raise error(
            f"{who}: the predictions of {part_of(len(bad), len(rows), 'row')} not finite "
            f"numbers, "
            f"first that of {_place(prepared, row)}: "
            f"{why_not_finite(outputs[bad[0]], prepared.specifiers(row))}"
        )


def why_not_finite(
    outputs: Float[np.ndarray, "*outputs"], numbers: Float[np.ndarray, "length channels"] | None
) -> str:
    """The likely reason why a row's prediction is no finite number.

    Args:
        outputs: Of the model.
        numbers: What the tokens of the row carry.
    """
    if np.isfinite(outputs).all():
        return (
            "the model's output is a number whose exponential is beyond float64; its labels were "
            "scaled by log: train it with training.scaling: standard"
        )
    largest = 0.0 if numbers is None or not numbers.size else float(np.abs(numbers).max())
    if not largest <= LARGE:
        return f"its tokens carry numbers up to {largest:.3g}; scale them to some near 1"
    return (
        f"the weights of the model are too large, its training diverged; train again and {DIVERGED}"
    )


def why_loss_not_finite(
    module: nn.Module, micro_batches: Iterable[Loaded], *, is_first_step: bool
) -> str:
    """The likely reason why the loss of a step, or its gradient, is no finite number."""
    carried = [loaded.batch.specifiers for loaded in micro_batches]
    sizes = [float(numbers.abs().max()) for numbers in carried if numbers is not None]
    largest = next((size for size in sizes if not size <= LARGE), 0.0)
    if largest:
        return f"tokens of the step carry numbers up to {largest:.3g}; scale them to some near 1"
    odd = next(
        (name for name, value in module.named_parameters() if not value.isfinite().all()), ""
    )
    if is_first_step and odd:
        return f"the weights that the training began with are not finite numbers, first '{odd}'"
    if is_first_step:
        return (
            "no step was taken before, so the learning rate is not the reason; look for very "
            "large labels or weights of rows, and set training.scaling: standard"
        )
    return DIVERGED


def _place(prepared: PreparedData, row: int) -> str:
    file, line = prepared.place(row)
    return f"'{prepared.ids[row][:40]}' ({prepared.manifest['files'][file]}, line {line})"
