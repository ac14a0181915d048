import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from biolm_ray.errors import DataError
from biolm_ray.training.finite import check_finite, why_not_finite

NUMBERS = {0: np.array([[1.0], [-3e8]]), 1: None, 2: np.zeros((4, 0))}
PREPARED: Any = SimpleNamespace(
    ids=["a", "b" * 50, "c"],
    manifest={"files": ["x.tsv", "y.tsv"]},
    place=lambda row: (row % 2, row + 10),
    specifiers=lambda row: NUMBERS[row],
)


def test_predictions_that_are_numbers_pass() -> None:
    check_finite(np.ones((2, 3)), np.ones((2, 3)), PREPARED, np.array([0, 1]), "m")
    check_finite(np.ones((0, 3)), np.ones((0, 3)), PREPARED, np.arange(0), "m")


def test_one_that_is_none_is_told_with_its_row_of_the_data() -> None:
    predictions = np.array([[1.0, 2.0], [np.nan, 2.0], [np.inf, 1.0]])
    message = (
        "model x: the predictions of 2 of 3 rows are not finite numbers, "
        f"first that of '{'b' * 40}' (y.tsv, line 11): "
    )
    with pytest.raises(DataError, match=re.escape(message)):
        check_finite(predictions, predictions, PREPARED, np.array([2, 1, 0]), "model x")


@pytest.mark.parametrize(
    ("output", "row", "reason"),
    [
        (800.0, 0, "a number whose exponential is beyond float64; its labels were scaled by log"),
        (np.nan, 0, "its tokens carry numbers up to 3e+08; scale them"),
        (np.nan, 1, "training diverged; train again and try a smaller learning rate"),
        (np.inf, 2, "training diverged; train again and try a smaller learning rate"),
    ],
)
def test_the_reason_depends_on_what_the_model_was_given(output, row, reason) -> None:
    assert reason in why_not_finite(np.array([output]), NUMBERS[row])
