"""Rows that the weights a training starts from were made with: no new ones to the model either."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from biolm_ray.data.splits import Fold
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_hashes import row_hashes
from biolm_ray.training.trained_rows import SEEN_PARTS, EarlierRows, TrainedRows, read_rows

log = logging.getLogger("biolm_ray")


def rows_seen_before(
    earlier: TrainedRows, prepared: PreparedData, rows: Int[np.ndarray, " rows"]
) -> Bool[np.ndarray, " rows"]:
    """Tell which rows earlier weights were trained or validated with.

    In their own data set rows go by their number, in any other by their id and sequence, and those
    that are not known by that by their sequence alone.
    """
    if earlier.is_of(prepared):
        return np.isin(rows, np.concatenate([earlier.rows[part] for part in SEEN_PARTS]))
    if not earlier.hashes:
        return np.zeros(len(rows), dtype=bool)
    hashes, seen = row_hashes(prepared, rows), earlier.seen_hashes
    is_named = np.isin(hashes[:, 0], np.concatenate(list(earlier.hashes.values()))[:, 0])
    by_name, by_sequence = (np.isin(hashes[:, which], seen[:, which]) for which in (0, 1))
    return np.where(is_named, by_name, by_sequence)


def find_earlier_rows(weights: Path, prepared: PreparedData, fold: Fold) -> EarlierRows | None:
    """Give the rows that weights were made with before the training of a fold, to keep.

    Rows that the fold trains or validates with are seen anyway; None where the weights do not tell.
    """
    earlier = read_rows(weights)
    if earlier is None:
        return None
    others = np.setdiff1d(
        np.arange(prepared.num_rows), np.concatenate([fold.train, fold.validation])
    )
    rows = others[rows_seen_before(earlier, prepared, others)]
    hashes = np.concatenate([earlier.seen_hashes, row_hashes(prepared, rows)])
    return rows, np.unique(hashes, axis=0)


def say_seen_before(weights: Path | None, prepared: PreparedData, folds: Sequence[Fold]) -> None:
    """Warn of test rows that the weights to start from were trained or validated with.

    Raises:
        DataError: The rows of these weights cannot be read.
    """
    earlier = None if weights is None else read_rows(weights)
    if earlier is None:
        return
    tested = np.unique(np.concatenate([fold.test for fold in folds]))
    num_seen = int(rows_seen_before(earlier, prepared, tested).sum())
    if num_seen:
        log.warning(
            "%d of %d test rows are among those that the earlier weights of %s were trained or "
            "validated with: metrics on them say nothing about new sequences; start from other "
            "weights, or divide the rows as they were divided then",
            num_seen,
            len(tested),
            weights,
        )
