"""Edits of one sequence that give the same result, found without building any of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt64

EQUALS_ORIGINAL = -1

# Odd, so that it has an inverse among 64-bit numbers, and every power of it too.
_BASE = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)
_INVERSE = np.array([pow(0x9E3779B97F4A7C15, -1, 1 << 64)], dtype=np.uint64)


@dataclass(frozen=True, kw_only=True)
class EditedViews:
    """What a model sees of each edited sequence, as codes of its tokens.

    Attributes:
        codes: The unedited sequence.
        new_codes: What each row puts in.
        positions: First edited token of each row.
        num_removed: How many tokens each row takes out there.
        num_inserted: How many of `new_codes` each row puts in.
        starts: First token in view of each edited sequence.
        width: Tokens in view of every row.
    """

    codes: Int[np.ndarray, " length"]
    new_codes: Int[np.ndarray, "rows inserted"]
    positions: Int[np.ndarray, " rows"]
    num_removed: Int[np.ndarray, " rows"]
    num_inserted: Int[np.ndarray, " rows"]
    starts: Int[np.ndarray, " rows"]
    width: int

    def codes_at(
        self, rows: Int[np.ndarray, " places"], places: Int[np.ndarray, " places"]
    ) -> Int[np.ndarray, " places"]:
        """Give single tokens of edited sequences; a place counts from the sequence's start."""
        since = places - self.positions[rows]
        inserted = self.num_inserted[rows]
        shift = np.where(since >= inserted, self.num_removed[rows] - inserted, 0)
        found = self.codes[np.minimum(places + shift, len(self.codes) - 1)]
        is_new = (since >= 0) & (since < inserted)
        found[is_new] = self.new_codes[rows[is_new], since[is_new]]
        return found


def first_equal_rows(views: EditedViews) -> Int[np.ndarray, " rows"]:
    """Give the first row that equals each row: its own index where there is no earlier one.

    Rows whose hashes agree are compared token by token, so that a chance agreement costs a pass of
    the model and is never an error. Each is compared with the one before it of the same hash, and
    only where the two can differ; that is a few tokens for neighbours.
    """
    num_rows = len(views.positions)
    hashes = _hashes(views)
    order = np.argsort(hashes, kind="stable")
    before, after = order[:-1], order[1:]
    is_equal = hashes[before] == hashes[after]
    is_equal[is_equal] = _same_tokens(views, before[is_equal], after[is_equal])
    starts_group = np.concatenate([[True], ~is_equal])[:num_rows]
    first = np.empty(num_rows, dtype=np.int64)
    first[order] = order[np.maximum.accumulate(np.where(starts_group, np.arange(num_rows), 0))]
    return first


def _hashes(views: EditedViews) -> UInt64[np.ndarray, " rows"]:
    """Hash every view by the polynomial of its codes, from running sums over the sequence."""
    length, width = len(views.codes), views.width
    largest = int(max(views.codes.max(initial=0), views.new_codes.max(initial=0)))
    values = np.random.default_rng(0).integers(1 << 63, size=largest + 1).astype(np.uint64)
    reach = length + views.new_codes.shape[1] + 1
    powers = _powers(reach)
    terms = values[views.codes] * powers[reach : reach + length]
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])

    starts, positions, ends = views.starts, views.positions, views.starts + width
    inserted, shift = views.num_inserted, views.num_removed - views.num_inserted
    left = sums[np.clip(positions, starts, ends)] - sums[starts]
    resumes = np.clip(positions + inserted, starts, ends)
    right = sums[ends + shift] - sums[np.minimum(resumes + shift, ends + shift)]
    hashes = (left + right * powers[reach - shift]) * powers[reach - starts]
    for index in range(views.new_codes.shape[1]):
        place = positions + index
        in_view = (index < inserted) & (place >= starts) & (place < ends)
        term = values[views.new_codes[:, index]] * powers[reach + np.where(in_view, place, 0)]
        hashes += np.where(in_view, term * powers[reach - starts], np.uint64(0))
    return hashes


def _powers(reach: int) -> UInt64[np.ndarray, " powers"]:
    """Powers of the base from -reach to reach; arithmetic wraps around at 64 bits."""
    rising = np.cumprod(np.repeat(_BASE, reach), dtype=np.uint64)
    falling = np.cumprod(np.repeat(_INVERSE, reach), dtype=np.uint64)
    return np.concatenate([falling[::-1], np.ones(1, dtype=np.uint64), rising])


def _same_tokens(
    views: EditedViews, first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
) -> Bool[np.ndarray, " pairs"]:
    """Compare pairs of rows; where their views start alike, only between their two edits."""
    starts, ends = views.starts[first], views.starts[first] + views.width
    alike = starts == views.starts[second]
    lowest = np.minimum(views.positions[first], views.positions[second])
    highest = np.maximum(
        views.positions[first] + views.num_inserted[first],
        views.positions[second] + views.num_inserted[second],
    )
    begin = np.where(alike, np.clip(lowest, starts, ends), starts)
    lengths = np.where(alike, np.clip(highest, begin, ends), ends) - begin
    pairs = np.repeat(np.arange(len(first)), lengths)
    within = np.arange(len(pairs)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = begin[pairs] + within
    other_places = places + (views.starts[second] - starts)[pairs]
    differs = views.codes_at(first[pairs], places) != views.codes_at(second[pairs], other_places)
    return np.bincount(pairs, weights=differs, minlength=len(first)) == 0
