"""Edited copies of one encoded sequence: a token removed, masked or replaced.

Every edit is made on the whole sequence, which is then cropped as a model would see it. So a
removal from a truncated sequence pulls the next token into view.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from biolm_ray.errors import DataError
from biolm_ray.tokenization.cropping import crop_window
from biolm_ray.tokenization.tokenizer import Encoded

Side = Literal["right", "left"]

EQUALS_ORIGINAL = -1


@dataclass(frozen=True, kw_only=True)
class Source:
    """One whole encoded sequence and how a model crops it.

    Attributes:
        token_ids: Without special tokens.
        specifiers: The float channels of each token, if the data has any.
        center: Index of the token the crop is centred on, or -1.
        room: Most tokens the model can see, special tokens not counted.
        cut_side: The side that loses tokens when there is no centre.
        spare_side: The side of the centre that gets the odd token.
    """

    token_ids: Int[np.ndarray, " length"]
    specifiers: Float[np.ndarray, "length channels"] | None = None
    center: int = -1
    room: int
    cut_side: Side = "right"
    spare_side: Side = "right"

    @property
    def window(self) -> tuple[int, int]:
        """The tokens in view of the unedited sequence, half-open."""
        return self.crop(len(self.token_ids), self.center)

    def crop(self, length: int, center: int) -> tuple[int, int]:
        """The tokens in view of a sequence of another length or centre, half-open."""
        return crop_window(length, self.room, self.cut_side, center, self.spare_side)


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What is to be scored in one sequence: one row per edit, nothing built yet.

    Attributes:
        source: The unedited sequence.
        positions: The edited token of each row, 0-based in the whole sequence.
        new_ids: The id put in its place; None where tokens are removed.
        drop_specifiers: Whether the edited token's specifiers become 0.
        starts: First token in view of each edited sequence.
        width: Number of tokens in view, the same for all rows.
        same_as: Index of the first row with the same result: its own index where there is no
            earlier one, EQUALS_ORIGINAL where the edit changes nothing.
    """

    source: Source
    positions: Int[np.ndarray, " rows"]
    new_ids: Int[np.ndarray, " rows"] | None
    drop_specifiers: bool = False
    starts: Int[np.ndarray, " rows"]
    width: int
    same_as: Int[np.ndarray, " rows"]

    @property
    def distinct(self) -> Int[np.ndarray, " distinct"]:
        """The rows a model has to be run on; all others equal one of them or the original."""
        return np.flatnonzero(self.same_as == np.arange(len(self.positions)))


@dataclass(frozen=True, kw_only=True)
class Variants:
    """Edited and cropped sequences, ready to be framed.

    Attributes:
        rows: Which rows of the `Edits` these are.
    """

    token_ids: Int[np.ndarray, "rows width"]
    specifiers: Float[np.ndarray, "rows width channels"] | None
    rows: Int[np.ndarray, " rows"]


def plan_removals(source: Source) -> Edits:
    """Plan the removal of every token in view; a token takes its specifiers with it.

    A crop centred on a removed token stays where that token was.
    """
    length = len(source.token_ids)
    positions = np.arange(*source.window)
    centers = source.center - (positions < source.center)
    centers = np.minimum(centers, length - 2) if source.center >= 0 else centers
    starts = np.zeros(len(positions), dtype=np.int64)
    for center in np.unique(centers):
        starts[centers == center] = source.crop(length - 1, int(center))[0]
    return Edits(
        source=source,
        positions=positions,
        new_ids=None,
        starts=starts,
        width=min(length - 1, source.room),
        same_as=_equal_removals(source, positions, starts),
    )


def plan_masks(source: Source, mask_id: int) -> Edits:
    """Plan the masking of every token in view; its specifiers stay.

    A model that gives special tokens no one-hot column, such as Saluki, sees an empty column.
    """
    positions = np.arange(*source.window)
    return _plan_substitutions(source, positions, np.full(len(positions), mask_id), False)


def plan_replacements(
    source: Source, replacements: dict[int, int], *, drop_specifiers: bool
) -> Edits:
    """Plan the replacement of every token in view that is a key of `replacements`."""
    in_view = np.arange(*source.window)
    keys = np.array(list(replacements), dtype=np.int64)
    positions = in_view[np.isin(source.token_ids[in_view], keys)]
    new_ids = np.array([replacements[int(old)] for old in source.token_ids[positions]], np.int64)
    return _plan_substitutions(source, positions, new_ids, drop_specifiers)


def build_variants(edits: Edits, rows: Int[np.ndarray, " rows"]) -> Variants:
    """Make the edited sequences of the given rows.

    Pass a slice of the rows at a time: memory grows with rows x width.

    Raises:
        DataError: A row lies outside the plan.
    """
    outside = rows[(rows < 0) | (rows >= len(edits.positions))]
    if outside.size:
        raise DataError(f"row {outside[0]} is outside a plan of {len(edits.positions)} edits")
    positions = edits.positions[rows]
    taken = edits.starts[rows][:, None] + np.arange(edits.width)
    if edits.new_ids is None:
        taken = taken + (taken >= positions[:, None])
    token_ids = edits.source.token_ids[taken]
    specifiers = edits.source.specifiers
    specifiers = None if specifiers is None else specifiers[taken]
    if edits.new_ids is not None:
        each = np.arange(len(rows))
        columns = positions - edits.starts[rows]
        token_ids[each, columns] = edits.new_ids[rows]
        if specifiers is not None and edits.drop_specifiers:
            specifiers[each, columns] = 0.0
    return Variants(token_ids=token_ids, specifiers=specifiers, rows=rows)


def stream_variants(edits: Edits, rows_at_once: int) -> Iterator[Variants]:
    """Yield the distinct variants, at most `rows_at_once` in memory."""
    distinct = edits.distinct
    for first in range(0, len(distinct), rows_at_once):
        yield build_variants(edits, distinct[first : first + rows_at_once])


def spread_scores(
    edits: Edits, distinct_scores: Float[np.ndarray, "distinct targets"]
) -> Float[np.ndarray, "rows targets"]:
    """Give every row the score of the variant it equals; 0 where the edit changes nothing."""
    scores = np.zeros((len(edits.positions), distinct_scores.shape[1]), dtype=np.float64)
    scores[edits.distinct] = distinct_scores
    changed = edits.same_as != EQUALS_ORIGINAL
    scores[changed] = scores[edits.same_as[changed]]
    return scores


def edited_plainly(edits: Edits, row: int) -> Encoded:
    """Make one edit on a copy of the whole sequence: slow, obvious, for checks."""
    source, position = edits.source, int(edits.positions[row])
    token_ids, specifiers, center = source.token_ids, source.specifiers, source.center
    if edits.new_ids is None:
        token_ids = np.delete(token_ids, position)
        specifiers = None if specifiers is None else np.delete(specifiers, position, axis=0)
        if center > position or center == len(token_ids):
            center -= 1
        return Encoded(token_ids, specifiers, center)
    token_ids = token_ids.copy()
    token_ids[position] = edits.new_ids[row]
    if specifiers is not None and edits.drop_specifiers:
        specifiers = specifiers.copy()
        specifiers[position] = 0.0
    return Encoded(token_ids, specifiers, center)


def _plan_substitutions(
    source: Source,
    positions: Int[np.ndarray, " rows"],
    new_ids: Int[np.ndarray, " rows"],
    drop_specifiers: bool,
) -> Edits:
    start, stop = source.window
    unchanged = source.token_ids[positions] == new_ids
    if drop_specifiers and source.specifiers is not None:
        unchanged &= ~source.specifiers[positions].any(axis=1)
    own = np.arange(len(positions))
    return Edits(
        source=source,
        positions=positions,
        new_ids=new_ids,
        drop_specifiers=drop_specifiers,
        starts=np.full(len(positions), start),
        width=stop - start,
        same_as=np.where(unchanged, EQUALS_ORIGINAL, own),
    )


def _equal_removals(
    source: Source, positions: Int[np.ndarray, " rows"], starts: Int[np.ndarray, " rows"]
) -> Int[np.ndarray, " rows"]:
    """Find removals with equal results.

    Removing i or j from the same stretch gives the same tokens exactly when all tokens from i
    to j are equal. An edited view is a stretch one longer than the view without token i, and
    the stretch begins where the unedited view does or one token earlier; the unedited view is
    then that stretch without its last or without its first token. Removals from two different
    stretches are equal only where both equal the unedited view.
    """
    runs = _runs(source)
    window_start, window_stop = source.window
    own = np.arange(len(positions))
    first_of_run = np.concatenate([[True], np.diff(runs[positions]) != 0]) if len(own) else own == 0
    first_of_run[1:] |= np.diff(starts) != 0
    same_as = np.maximum.accumulate(np.where(first_of_run, own, 0))
    if window_stop - window_start == len(source.token_ids):
        return same_as
    assert np.isin(starts, (window_start - 1, window_start)).all()
    entering = np.where(starts == window_start, window_stop, window_start - 1)
    return np.where(runs[positions] == runs[entering], EQUALS_ORIGINAL, same_as)


def _runs(source: Source) -> Int[np.ndarray, " length"]:
    """Number the runs of neighbours with equal token and equal specifiers."""
    changes = np.diff(source.token_ids) != 0
    if source.specifiers is not None:
        changes |= (source.specifiers[1:] != source.specifiers[:-1]).any(axis=1)
    return np.concatenate([[0], np.cumsum(changes)])
