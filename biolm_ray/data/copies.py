"""The same sequence in training and in test: rows whose answer a model may know by heart."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt64

from biolm_ray.data.splits import Fold, Rows


def judged_rows(fold: Fold) -> Rows:
    """The rows that judge a fold's model: those it tests, else validates, and those kept aside."""
    return np.concatenate([fold.test if len(fold.test) else fold.validation, fold.kept_aside])


def copies_in_training(
    folds: Sequence[Fold], sequences: UInt64[np.ndarray, " rows"]
) -> dict[int, int]:
    """The rows that judge a fold although it trains on the same sequence, each with such a row.

    Args:
        folds: With the rows of each.
        sequences: A number for each row, equal where the sequences are.
    """
    _, numbers, counts = np.unique(sequences, return_inverse=True, return_counts=True)
    repeats = counts[numbers] > 1
    copies: dict[int, int] = {}
    for fold in folds:
        trained = fold.train[repeats[fold.train]]
        first = np.full(len(counts), -1)
        first[numbers[trained[::-1]]] = trained[::-1]
        judged = judged_rows(fold)
        judged = judged[repeats[judged]]
        twins = first[numbers[judged]]
        for row, twin in zip(judged[twins >= 0], twins[twins >= 0], strict=True):
            copies.setdefault(int(row), int(twin))
    return copies
