"""Which rows make a step, and which worker takes which of them: pure functions.

The feeds put rows in order in two ways, at random (`epoch_steps`) or along the files that hold
them (`streamed_order`), and cut the order into steps in one way (`cut_steps`).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from biolm_ray.training.seeding import derive_seed

Rows = Int[np.ndarray, " rows"]

# The rows of so many steps are sorted by length together. Log-normal transcript lengths then leave
# 2 % of padding below 2,048 tokens and 9 % below 12,288; with 32 steps it is 4 % and 17 %.
WINDOW_STEPS = 64
# With fewer windows an epoch would put nearly the same rows together as the one before.
FEWEST_WINDOWS = 4
# A streamed row moves among so many that follow each other in the shuffled files; at most so many
# wait in memory for their turn. Files hold 16 MiB of tokens: some 5,000 transcripts.
SHUFFLE_ROWS = 8192


def split_evenly(rows: Rows, largest: int) -> list[Rows]:
    """Cut rows into the fewest parts of at most `largest`, all of nearly the same size.

    A short last part would be a batch of one row, which batch normalization cannot take. No rows
    make no part.
    """
    return np.array_split(rows, -(-len(rows) // largest)) if len(rows) else []


def count_steps(num_rows: int, *, batch_size: int, accumulation: int) -> int:
    """Count the steps of an epoch: the fewest that none of them is larger than asked."""
    return max(1, -(-num_rows // (batch_size * accumulation)))


def epoch_steps(
    rows: Rows,
    *,
    batch_size: int,
    accumulation: int,
    seed: int,
    fold: int,
    epoch: int,
    lengths: Int[np.ndarray, " all_rows"] | None = None,
) -> Iterator[list[Rows]]:
    """Shuffle the rows of an epoch into steps, each a list of micro-batches.

    Every row is in exactly one micro-batch. Workers deal the micro-batches of a step among
    themselves, so the order does not depend on how many there are. Steps are cut as they are
    asked for; only the shuffle itself comes before the first one.

    Args:
        rows: Numbers of the rows to train on.
        batch_size: Most rows of a micro-batch.
        accumulation: Most micro-batches of a step.
        seed: Seed of the run.
        fold: Number of the fold.
        epoch: Number of the epoch, from 0.
        lengths: Tokens of every row of the data set, by row number. Then the rows of a
            micro-batch are of similar length; None mixes all lengths.
    """
    draw = np.random.default_rng(derive_seed(seed, "order", fold, epoch))
    num_steps = count_steps(len(rows), batch_size=batch_size, accumulation=accumulation)
    return cut_steps(draw.permutation(rows), num_steps, batch_size, draw, lengths)


def cut_steps(
    order: Rows,
    num_steps: int,
    batch_size: int,
    draw: np.random.Generator,
    lengths: Int[np.ndarray, " all_rows"] | None,
) -> Iterator[list[Rows]]:
    """Cut shuffled rows into steps of nearly the same size, each a list of micro-batches.

    Args:
        order: In the order of training; those of similar length are put together within windows
            of it. Fewer rows than steps leave some steps empty.
        num_steps: How many.
        batch_size: Most rows of a micro-batch.
        draw: Shuffles the micro-batches of a window.
        lengths: As for `epoch_steps`.
    """
    starts = even_bounds(len(order), num_steps)
    if lengths is None:
        for start, stop in pairwise(starts):
            yield split_evenly(order[start:stop], batch_size)
        return
    for first, last in pairwise(even_bounds(num_steps, _count_windows(num_steps))):
        window = order[starts[first] : starts[last]]
        by_length = window[np.argsort(lengths[window], kind="stable")]
        micro_batches = split_evenly(by_length, batch_size)
        shuffled = draw.permutation(len(micro_batches))
        for start, stop in pairwise(even_bounds(len(micro_batches), last - first)):
            yield [micro_batches[index] for index in shuffled[start:stop]]


def streamed_order(
    rows: Rows,
    part_starts: Int[np.ndarray, " parts"],
    *,
    rank: int,
    size: int,
    seed: int,
    fold: int,
    epoch: int,
) -> Rows:
    """Shuffle the rows of an epoch so that one worker can read its share file by file.

    Parts are shuffled, and the rows within each. Laid end to end they are cut into as many
    stretches of the same size as there are workers, so at most one part fewer than workers is
    read by two of them. Last, rows are shuffled among their neighbours. Every row is in the order
    of exactly one worker, and the order depends on the number of workers.

    Args:
        rows: Numbers of the rows to train on, ascending.
        part_starts: The first row of each part of the data set.
        rank: Which worker.
        size: Number of workers.
        seed: Seed of the run.
        fold: Number of the fold.
        epoch: Number of the epoch, from 0.
    """
    bounds = np.append(np.searchsorted(rows, part_starts), len(rows))
    first, last = even_bounds(len(rows), size)[rank : rank + 2]
    parts = np.random.default_rng(derive_seed(seed, "parts", fold, epoch))
    stretches, start = [rows[:0]], 0
    for part in parts.permutation(len(part_starts)):
        within = rows[bounds[part] : bounds[part + 1]]
        begin, end = max(first - start, 0), min(last - start, len(within))
        start += len(within)
        if begin < end:
            draw = np.random.default_rng(derive_seed(seed, "rows of part", fold, epoch, int(part)))
            stretches.append(draw.permutation(within)[begin:end])
    draw = np.random.default_rng(derive_seed(seed, "neighbours", fold, epoch, rank))
    return shuffle_nearby(np.concatenate(stretches), SHUFFLE_ROWS, draw)


def shuffle_nearby(rows: Rows, reach: int, draw: np.random.Generator) -> Rows:
    """Shuffle rows as a buffer of `reach` rows would: none comes more than so many too early."""
    moved = np.arange(len(rows)) + draw.random(len(rows)) * reach
    return rows[np.argsort(moved, kind="stable")]


def _count_windows(num_steps: int) -> int:
    return max(-(-num_steps // WINDOW_STEPS), min(num_steps, FEWEST_WINDOWS))


def even_bounds(num_items: int, num_parts: int) -> list[int]:
    """Where parts of nearly the same size begin and end, the larger ones first."""
    size, num_larger = divmod(num_items, num_parts)
    parts = np.arange(num_parts + 1)
    return (parts * size + np.minimum(parts, num_larger)).tolist()
