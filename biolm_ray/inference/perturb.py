"""Edited copies of one encoded sequence: tokens removed, masked, replaced or put in.

Every edit is made on the whole sequence, which is then cropped as a model would see it. So a
removal from a truncated sequence pulls the next token into view, and a sequence that loses the
token it is centred on is centred on the next such token, or cut on one side where it has none. Only
a mask, which hides what stands at a place but not the place, leaves the view where it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from biolm_ray.errors import DataError
from biolm_ray.inference.equal_edits import EQUALS_ORIGINAL, EditedViews, first_equal_rows
from biolm_ray.tokenization.cropping import crop_window
from biolm_ray.tokenization.tokenizer import Encoded

__all__ = ["EQUALS_ORIGINAL", "Edits", "Source", "Variants"]

Side = Literal["right", "left"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One whole encoded sequence and how a model crops it.

    Attributes:
        token_ids: Without special tokens.
        specifiers: The float channels of each token, if the data has any.
        is_center: Of each id, whether it can be the token that the crop is centred on; the first
            such token of a sequence is. None where crops have no centre.
        room: Most tokens the model can see, special tokens not counted.
        cut_side: The side that loses tokens when there is no centre.
        spare_side: The side of the centre that gets the odd token.
    """

    token_ids: Int[np.ndarray, " length"]
    specifiers: Float[np.ndarray, "length channels"] | None = None
    is_center: Bool[np.ndarray, " vocabulary"] | None = None
    room: int
    cut_side: Side = "right"
    spare_side: Side = "right"

    @cached_property
    def centers(self) -> Int[np.ndarray, " centers"]:
        """The tokens that a crop can be centred on, ascending."""
        nowhere = np.zeros(0, dtype=np.int64)
        return nowhere if self.is_center is None else np.flatnonzero(self.is_center[self.token_ids])

    @property
    def center(self) -> int:
        """Index of the token the crop is centred on, or -1."""
        return int(self.centers[0]) if len(self.centers) else -1

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

    Every row puts `num_inserted` tokens in the place of `num_removed` adjacent ones, so that all
    edited sequences are equally long. A new token takes over the specifiers of the token that it
    replaces; one that replaces none has zeros.

    Attributes:
        source: The unedited sequence.
        positions: The first edited token of each row, 0-based in the whole sequence; where none is
            removed, the token before which new ones are put, or the length of the sequence.
        num_removed: How many tokens each row takes out.
        new_ids: What each row puts in; None where tokens are only removed.
        undecorated: The rows whose new tokens have zeros for specifiers all the same.
        keeps_center: Whether the crop stays centred on the place where the centre was before.
        starts: First token in view of each edited sequence.
        width: Number of tokens in view, the same for all rows.
        same_as: Index of the first row with the same result: its own index where there is no
            earlier one, EQUALS_ORIGINAL where the edit changes nothing.
    """

    source: Source
    positions: Int[np.ndarray, " rows"]
    num_removed: int = 1
    new_ids: Int[np.ndarray, "rows inserted"] | None
    undecorated: Bool[np.ndarray, " rows"]
    keeps_center: bool = False
    starts: Int[np.ndarray, " rows"]
    width: int
    same_as: Int[np.ndarray, " rows"]

    @property
    def num_inserted(self) -> int:
        """How many tokens each row puts in."""
        return 0 if self.new_ids is None else self.new_ids.shape[1]

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


def plan_removals(source: Source, window: int = 1) -> Edits:
    """Plan the removal of every `window` adjacent tokens in view, and of their specifiers."""
    return _plan(source, _window_starts(source, window), None, num_removed=window)


def plan_masks(source: Source, mask_id: int, window: int = 1) -> Edits:
    """Plan the masking of every `window` adjacent tokens in view; their specifiers stay.

    A model that gives special tokens no one-hot column, such as Saluki, sees an empty column.
    """
    positions = _window_starts(source, window)
    new_ids = np.full((len(positions), window), mask_id, dtype=np.int64)
    return _plan(source, positions, new_ids, num_removed=window, keeps_center=True)


def plan_substitutions(
    source: Source, choices: Mapping[int, Sequence[int]], *, undecorate: bool = False
) -> Edits:
    """Plan the replacement of every token in view by each of its choices, in their order.

    A token without choices is left alone. With `undecorate`, a token that carries specifiers is
    also replaced once by itself without them, after its choices.
    """
    in_view = np.arange(*source.window)
    tokens = source.token_ids[in_view].tolist()
    is_decorated = np.zeros(len(tokens), dtype=bool)
    if undecorate and source.specifiers is not None:
        is_decorated = (source.specifiers[in_view] != 0).any(axis=1)
    new_ids = [
        [*choices.get(token, ()), *([token] if is_decorated[place] else [])]
        for place, token in enumerate(tokens)
    ]
    num_new = np.array([len(ids) for ids in new_ids], dtype=np.int64)
    undecorated = np.zeros(num_new.sum(), dtype=bool)
    undecorated[np.cumsum(num_new)[is_decorated] - 1] = True
    return _plan(
        source,
        np.repeat(in_view, num_new),
        np.array([new for ids in new_ids for new in ids], dtype=np.int64)[:, None],
        num_removed=1,
        undecorated=undecorated,
    )


def plan_insertions(source: Source, token_ids: Sequence[int]) -> Edits:
    """Plan each of some tokens before every token in view, and after the last one.

    It carries no specifiers. What a full view has no room for is pushed out of it.
    """
    start, stop = source.window
    positions = np.repeat(np.arange(start, stop + 1), len(token_ids))
    new_ids = np.tile(np.array(token_ids, dtype=np.int64), stop + 1 - start)
    return _plan(source, positions, new_ids[:, None], num_removed=0)


def build_variants(edits: Edits, rows: Int[np.ndarray, " rows"]) -> Variants:
    """Make the edited sequences of the given rows.

    Pass a slice of the rows at a time: memory grows with rows x width.

    Raises:
        DataError: A row lies outside the plan.
    """
    outside = rows[(rows < 0) | (rows >= len(edits.positions))]
    if outside.size:
        raise DataError(f"row {outside[0]} is outside a plan of {len(edits.positions)} edits")
    source, positions, inserted = edits.source, edits.positions[rows], edits.num_inserted
    places = edits.starts[rows][:, None] + np.arange(edits.width)
    after_edit = places >= positions[:, None] + inserted
    taken = places + after_edit * (edits.num_removed - inserted)
    taken = np.minimum(taken, len(source.token_ids) - 1)
    token_ids = source.token_ids[taken]
    specifiers = None if source.specifiers is None else source.specifiers[taken]
    for index in range(inserted):
        assert edits.new_ids is not None
        columns = positions + index - edits.starts[rows]
        seen = np.flatnonzero((columns >= 0) & (columns < edits.width))
        token_ids[seen, columns[seen]] = edits.new_ids[rows[seen], index]
        if specifiers is not None:
            bare = seen[edits.undecorated[rows[seen]] | (index >= edits.num_removed)]
            specifiers[bare, columns[bare]] = 0.0
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
    new = [] if edits.new_ids is None else edits.new_ids[row].tolist()
    resume = position + edits.num_removed
    ids = source.token_ids.tolist()
    ids = ids[:position] + new + ids[resume:]
    center = source.center
    if source.is_center is not None and not edits.keeps_center:
        center = next((place for place, new_id in enumerate(ids) if source.is_center[new_id]), -1)
    token_ids = np.array(ids, dtype=source.token_ids.dtype)
    if source.specifiers is None:
        return Encoded(token_ids, None, center)
    carried = np.zeros((len(new), source.specifiers.shape[1]), source.specifiers.dtype)
    if not edits.undecorated[row]:
        replaced = source.specifiers[position:resume][: len(new)]
        carried[: len(replaced)] = replaced
    parts = [source.specifiers[:position], carried, source.specifiers[resume:]]
    return Encoded(token_ids, np.concatenate(parts), center)


def _window_starts(source: Source, window: int) -> Int[np.ndarray, " rows"]:
    start, stop = source.window
    return np.arange(start, max(start, stop - window + 1))


def _plan(
    source: Source,
    positions: Int[np.ndarray, " rows"],
    new_ids: Int[np.ndarray, "rows inserted"] | None,
    *,
    num_removed: int,
    undecorated: Bool[np.ndarray, " rows"] | None = None,
    keeps_center: bool = False,
) -> Edits:
    """Find out what a model sees of each edited sequence, and which of them are equal."""
    num_inserted = 0 if new_ids is None else new_ids.shape[1]
    length = max(0, len(source.token_ids) - num_removed + num_inserted)
    centers = np.full(len(positions), source.center)
    if not keeps_center:
        centers = _new_centers(source, positions, new_ids, num_removed)
    starts = np.zeros(len(positions), dtype=np.int64)
    for center in np.unique(centers):
        starts[centers == center] = source.crop(length, int(center))[0]
    edits = Edits(
        source=source,
        positions=positions,
        num_removed=num_removed,
        new_ids=new_ids,
        undecorated=np.zeros(len(positions), dtype=bool) if undecorated is None else undecorated,
        keeps_center=keeps_center,
        starts=starts,
        width=min(length, source.room),
        same_as=np.arange(len(positions)),
    )
    return replace(edits, same_as=_equal_rows(edits))


def _new_centers(
    source: Source,
    positions: Int[np.ndarray, " rows"],
    new_ids: Int[np.ndarray, "rows inserted"] | None,
    num_removed: int,
) -> Int[np.ndarray, " rows"]:
    """Find the first token of each edited sequence that a crop can be centred on, or -1."""
    if source.is_center is None:
        return np.full(len(positions), -1)
    num_inserted = 0 if new_ids is None else new_ids.shape[1]
    following = np.append(source.centers, -1)[
        np.searchsorted(source.centers, positions + num_removed)
    ]
    centers = np.where(following < 0, -1, following + num_inserted - num_removed)
    if new_ids is not None and num_inserted:
        are_centers = source.is_center[new_ids]
        centers = np.where(are_centers.any(axis=1), positions + are_centers.argmax(axis=1), centers)
    stays = (source.center >= 0) & (source.center < positions)
    return np.where(stays, source.center, centers)


def _equal_rows(edits: Edits) -> Int[np.ndarray, " rows"]:
    """Find rows with equal results; the unedited view stands before them as one more row."""
    start, stop = edits.source.window
    first = 1 if stop - start == edits.width else 0
    codes, new_codes = _codes(edits)
    unedited = np.zeros((first, edits.num_inserted), dtype=np.int64)

    def below(unedited_value: int, of_rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " all"]:
        return np.concatenate([np.full(first, unedited_value), of_rows])

    every = np.ones(len(edits.positions), dtype=np.int64)
    same_as = first_equal_rows(
        EditedViews(
            codes=codes,
            new_codes=np.concatenate([unedited, new_codes]),
            positions=below(len(codes), edits.positions),
            num_removed=below(0, every * edits.num_removed),
            num_inserted=below(0, every * edits.num_inserted),
            starts=below(start, edits.starts),
            width=edits.width,
        )
    )
    return same_as[first:] - first


def _codes(
    edits: Edits,
) -> tuple[Int[np.ndarray, " length"], Int[np.ndarray, "rows inserted"]]:
    """Number what a token and its specifiers are together, in the source and among the new."""
    source, num_rows = edits.source, len(edits.positions)
    ids = source.token_ids.astype(np.int64)
    new_ids = np.zeros((num_rows, 0), dtype=np.int64) if edits.new_ids is None else edits.new_ids
    if source.specifiers is None:
        return ids, new_ids
    channels = source.specifiers.shape[1]
    carried = np.zeros((*new_ids.shape, channels), dtype=source.specifiers.dtype)
    for index in range(min(edits.num_removed, edits.num_inserted)):
        carried[:, index] = source.specifiers[edits.positions + index]
    carried[edits.undecorated] = 0.0
    rows = [
        np.column_stack([ids, source.specifiers]),
        np.column_stack([new_ids.reshape(-1), carried.reshape(-1, channels)]),
    ]
    numbers = np.unique(np.concatenate(rows), axis=0, return_inverse=True)[1].reshape(-1)
    return numbers[: len(ids)], numbers[len(ids) :].reshape(new_ids.shape)
