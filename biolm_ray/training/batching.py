"""Which rows make a step, and which worker takes which of them: pure functions."""

import numpy as np
from jaxtyping import Int

from biolm_ray.training.seeding import derive_seed

Rows = Int[np.ndarray, " rows"]


def split_evenly(rows: Rows, largest: int) -> list[Rows]:
    """Cut rows into the fewest parts of at most `largest`, all of nearly the same size.

    A short last part would be a batch of one row, which batch normalization cannot take.
    """
    return np.array_split(rows, max(1, -(-len(rows) // largest)))


def epoch_steps(
    rows: Rows, *, batch_size: int, accumulation: int, seed: int, fold: int, epoch: int
) -> list[list[Rows]]:
    """Shuffle the rows of an epoch into steps, each a list of micro-batches.

    Every row is in exactly one micro-batch. Workers deal the micro-batches of a step among
    themselves, so the order does not depend on how many there are.
    """
    order = np.random.default_rng(derive_seed(seed, "order", fold, epoch)).permutation(rows)
    return [
        split_evenly(step, batch_size) for step in split_evenly(order, batch_size * accumulation)
    ]
