"""Where the rows of a block lie in its joined tokens."""

import numpy as np
from jaxtyping import Bool, Int

_AT_ONCE = 1 << 18  # fits a processor's cache


def positions_of(values: Int[np.ndarray, " length"], *wanted: int) -> Int[np.ndarray, " found"]:
    """Where some values stand among others, in order."""
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        hits = part == wanted[0]
        for value in wanted[1:]:
            hits |= part == value
        found.append(start + np.flatnonzero(hits))
    return np.concatenate(found)


def first_in_rows(
    positions: Int[np.ndarray, " found"], offsets: Int[np.ndarray, " rows+1"]
) -> Int[np.ndarray, " rows"]:
    """The first of some rising positions that lies in each row; -1 in rows without any."""
    nearest = np.searchsorted(positions, offsets[:-1])
    found = np.append(positions, np.iinfo(np.int64).max)[nearest]
    return np.where(found < offsets[1:], found, -1)


def num_in_rows(
    positions: Int[np.ndarray, " found"], offsets: Int[np.ndarray, " rows+1"]
) -> Int[np.ndarray, " rows"]:
    """How many of some rising positions lie in each row."""
    return np.diff(np.searchsorted(positions, offsets))


def within(
    starts: Int[np.ndarray, " rows"], stops: Int[np.ndarray, " rows"], length: int
) -> Bool[np.ndarray, " length"]:
    """Mark the positions in the ranges [start, stop), which do not overlap."""
    steps = np.zeros(length + 1, dtype=np.int8)
    filled = starts < stops
    steps[starts[filled]] += 1
    steps[stops[filled]] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).view(bool)


def rows_of(
    positions: Int[np.ndarray, " found"], offsets: Int[np.ndarray, " rows+1"]
) -> Int[np.ndarray, " found"]:
    """The row in which each position lies."""
    return np.searchsorted(offsets, positions, side="right") - 1


def without(
    offsets: Int[np.ndarray, " rows+1"], kept: Bool[np.ndarray, " length"]
) -> Int[np.ndarray, " rows+1"]:
    """The offsets of rows that lose the positions not kept."""
    return offsets - np.searchsorted(np.flatnonzero(~kept), offsets)


def joined_offsets(lengths: Int[np.ndarray, " rows"] | list[int]) -> Int[np.ndarray, " rows+1"]:
    """The offsets of rows of these lengths, one after the other."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
