"""Laws of edited sequences, against the plainest possible editing."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm_ray.inference.perturb import (
    EQUALS_ORIGINAL,
    Edits,
    Source,
    build_variants,
    edited_plainly,
    plan_insertions,
    plan_masks,
    plan_removals,
    plan_substitutions,
    spread_scores,
    stream_variants,
)

MASK = 9
CENTERS = [np.isin(np.arange(MASK + 1), ids) for ids in ([], [0], [1], [2], [0, 2], [3], [7])]


@st.composite
def sources(draw: st.DrawFn) -> Source:
    length = draw(st.integers(1, 14))
    token_ids = np.array(draw(st.lists(st.integers(0, 2), min_size=length, max_size=length)))
    specifiers = None
    if draw(st.booleans()):
        flags = draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
        specifiers = np.stack([np.array(flags), np.zeros(length)], axis=1).astype(np.float32)
    return Source(
        token_ids=token_ids,
        specifiers=specifiers,
        is_center=draw(st.sampled_from([None, *CENTERS])),
        room=draw(st.integers(1, 16)),
        cut_side=draw(st.sampled_from(["right", "left"])),
        spare_side=draw(st.sampled_from(["right", "left"])),
    )


@st.composite
def plans(draw: st.DrawFn) -> Edits:
    source = draw(sources())
    edit = draw(st.sampled_from(["remove", "mask", "substitute", "insert"]))
    window = draw(st.integers(1, 4))
    if edit == "remove":
        return plan_removals(source, window)
    if edit == "mask":
        return plan_masks(source, draw(st.sampled_from([MASK, 0])), window)
    if edit == "insert":
        return plan_insertions(source, draw(st.lists(st.integers(0, 3), max_size=3, unique=True)))
    some = st.lists(st.integers(0, 3), max_size=3)
    choices = draw(st.dictionaries(st.integers(0, 2), some))
    return plan_substitutions(source, choices, undecorate=draw(st.booleans()))


def view_of(source: Source, token_ids, specifiers, center: int) -> tuple[bytes, ...]:
    start, stop = source.crop(len(token_ids), center)
    view = np.asarray(token_ids[start:stop], dtype=np.int64).tobytes()
    return (view,) if specifiers is None else (view, specifiers[start:stop].tobytes())


def plain_view(edits: Edits, row: int) -> tuple[bytes, ...]:
    edited = edited_plainly(edits, row)
    return view_of(edits.source, edited.token_ids, edited.specifiers, edited.center)


def built_view(edits: Edits, row: int) -> tuple[bytes, ...]:
    variants = build_variants(edits, np.array([row]))
    view = variants.token_ids[0].astype(np.int64).tobytes()
    return (view,) if variants.specifiers is None else (view, variants.specifiers[0].tobytes())


@given(plans())
def test_a_variant_is_the_sequence_edited_and_then_cropped(edits: Edits) -> None:
    for row in range(len(edits.positions)):
        assert built_view(edits, row) == plain_view(edits, row)


@given(plans())
def test_equal_variants_are_found_exactly_as_by_comparing_all(edits: Edits) -> None:
    source = edits.source
    original = view_of(source, source.token_ids, source.specifiers, source.center)
    seen: dict[tuple[bytes, ...], int] = {original: EQUALS_ORIGINAL}
    expected = [seen.setdefault(plain_view(edits, row), row) for row in range(len(edits.positions))]
    assert edits.same_as.tolist() == expected


@given(sources())
def test_every_token_in_view_is_edited_once(source: Source) -> None:
    start, stop = source.window
    for edits in (plan_removals(source), plan_masks(source, MASK)):
        assert edits.positions.tolist() == list(range(start, stop))


@given(sources(), st.integers(1, 5))
def test_a_window_starts_at_every_token_that_leaves_it_in_view(source: Source, window: int) -> None:
    start, stop = source.window
    for edits in (plan_removals(source, window), plan_masks(source, MASK, window)):
        assert edits.positions.tolist() == [i for i in range(start, stop) if i + window <= stop]


@given(sources())
def test_row_i_really_lacks_token_i(source: Source) -> None:
    whole = Source(token_ids=np.arange(len(source.token_ids)), room=len(source.token_ids))
    variants = build_variants(plan_removals(whole), np.arange(len(whole.token_ids)))
    for position, ids in enumerate(variants.token_ids):
        assert ids.tolist() == [i for i in range(len(whole.token_ids)) if i != position]


@given(sources(), st.booleans())
def test_a_replacement_changes_one_token_and_no_specifier(source: Source, undecorate: bool) -> None:
    source = replace(source, is_center=None)
    edits = plan_substitutions(source, {0: (7, 8)}, undecorate=undecorate)
    start, stop = source.window
    variants = build_variants(edits, np.arange(len(edits.positions)))
    expected = [(i, new) for i in range(start, stop) if source.token_ids[i] == 0 for new in (7, 8)]
    assert edits.new_ids is not None
    rows = zip(edits.positions.tolist(), edits.new_ids[:, 0].tolist(), strict=True)
    kept = np.flatnonzero(~edits.undecorated)
    assert [pair for row, pair in enumerate(rows) if row in kept] == expected
    for row, (position, new) in zip(kept, expected, strict=True):
        ids = source.token_ids[start:stop].copy()
        ids[position - start] = new
        assert variants.token_ids[row].tolist() == ids.tolist()
        if variants.specifiers is not None and source.specifiers is not None:
            assert variants.specifiers[row].tolist() == source.specifiers[start:stop].tolist()


@given(sources())
def test_each_decorated_token_is_also_replaced_once_by_itself_without_its_numbers(
    source: Source,
) -> None:
    source = replace(source, is_center=None)
    edits = plan_substitutions(source, {0: (7,)}, undecorate=True)
    (bare,) = np.nonzero(edits.undecorated)
    if source.specifiers is None:
        assert not len(bare)
        return
    start, stop = source.window
    decorated = [i for i in range(start, stop) if source.specifiers[i].any()]
    assert edits.positions[bare].tolist() == decorated
    variants = build_variants(edits, bare)
    assert variants.specifiers is not None
    for ids, specifiers, position in zip(
        variants.token_ids, variants.specifiers, decorated, strict=True
    ):
        assert ids.tolist() == source.token_ids[start:stop].tolist()
        expected = source.specifiers[start:stop].copy()
        expected[position - start] = 0
        assert specifiers.tolist() == expected.tolist()
    assert (np.diff(edits.positions) >= 0).all()


@given(plans(), st.integers(1, 5))
def test_slices_hold_every_distinct_variant_once_whatever_their_size(
    edits: Edits, rows_at_once: int
) -> None:
    slices = list(stream_variants(edits, rows_at_once))
    assert all(0 < len(part.rows) <= rows_at_once for part in slices)
    rows = [int(row) for part in slices for row in part.rows]
    assert rows == edits.distinct.tolist()
    assert len({plain_view(edits, row) for row in rows}) == len(rows)


@given(plans())
def test_spreading_gives_equal_variants_equal_scores_and_unchanged_ones_zero(edits: Edits) -> None:
    of_distinct = np.arange(1.0, len(edits.distinct) + 1)[:, None]
    spread = spread_scores(edits, of_distinct)[:, 0]
    score_of = {plain_view(edits, int(row)): i + 1.0 for i, row in enumerate(edits.distinct)}
    source = edits.source
    score_of[view_of(source, source.token_ids, source.specifiers, source.center)] = 0.0
    assert spread.tolist() == [score_of[plain_view(edits, row)] for row in range(len(spread))]
