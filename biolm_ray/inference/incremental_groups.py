"""The edits of a plan, grouped by what they have in common: two unedited sequences around them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from biolm_ray.inference.perturb import Edits
from biolm_ray.models.batches import Framing

Ids = Int[np.ndarray, "*rows length"]
Specifiers = Float[np.ndarray, "*rows length channels"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Edits whose sequences are seen from the same token on.

    Attributes:
        members: Which of the distinct edits, in the order of their places.
        columns: The first edited row of each; special tokens are counted.
        bases: Ids of A and, where the edit shifts what follows it, of B (see
            `incremental_levels`). Both are as long as an edited sequence.
        base_specifiers: Theirs.
        window_ids: Ids of the tokens put in.
        window_specifiers: Theirs.
        keeps_start: Whether the unedited sequence is seen from the same token on, too.
    """

    members: Int[np.ndarray, " rows"]
    columns: Int[np.ndarray, " rows"]
    bases: Int[np.ndarray, "sources length"]
    base_specifiers: Float[np.ndarray, "sources length channels"] | None
    window_ids: Int[np.ndarray, "rows inserted"]
    window_specifiers: Float[np.ndarray, "rows inserted channels"] | None
    keeps_start: bool


def group_edits(edits: Edits, framing: Framing) -> Iterator[Group]:
    """Group the distinct edits by the start of their view.

    Left out are those whose tokens lie in view only in part or not at all.
    """
    distinct = edits.distinct
    starts = edits.starts[distinct]
    columns = edits.positions[distinct] - starts
    in_view = (columns >= 0) & (columns + edits.num_inserted <= edits.width)
    for start in np.unique(starts[in_view]):
        members = np.flatnonzero(in_view & (starts == start))
        members = members[np.argsort(columns[members], kind="stable")]
        yield _make_group(edits, framing, int(start), members, columns[members])


def _make_group(edits: Edits, framing: Framing, start: int, members: Ids, columns: Ids) -> Group:
    shift = edits.num_removed - edits.num_inserted
    firsts = [start] if shift == 0 else [start, start + shift]
    bases, specifiers = zip(*(_framed(edits, framing, first) for first in firsts), strict=True)
    window_ids, window_specifiers = window_tokens(edits, edits.distinct[members])
    return Group(
        members=members,
        columns=columns + len(framing.prefix_ids),
        bases=np.stack(bases),
        base_specifiers=None if specifiers[0] is None else np.stack(specifiers),
        window_ids=window_ids,
        window_specifiers=window_specifiers,
        keeps_start=start == edits.source.window[0],
    )


def _framed(edits: Edits, framing: Framing, first: int) -> tuple[Ids, Specifiers | None]:
    """Frame `width` tokens from a token on; where there are none, anything may stand.

    No edit takes such rows: A is read before an edit only, B behind it.
    """
    source = edits.source
    taken = np.arange(first, first + edits.width).clip(0, len(source.token_ids) - 1)
    ids = np.concatenate([framing.prefix_ids, source.token_ids[taken], framing.suffix_ids])
    if source.specifiers is None:
        return ids.astype(np.int64), None
    around = ((len(framing.prefix_ids), len(framing.suffix_ids)), (0, 0))
    return ids.astype(np.int64), np.pad(source.specifiers[taken], around)


def window_tokens(edits: Edits, rows: Ids) -> tuple[Ids, Specifiers | None]:
    """Give the ids and specifiers that the given rows of a plan put in."""
    nothing = np.zeros((len(edits.positions), 0), dtype=np.int64)
    ids = (nothing if edits.new_ids is None else edits.new_ids)[rows]
    specifiers = edits.source.specifiers
    if specifiers is None:
        return ids, None
    columns = np.arange(edits.num_inserted)
    places = (edits.positions[rows][:, None] + columns).clip(0, len(specifiers) - 1)
    keeps = (columns < edits.num_removed) & ~edits.undecorated[rows][:, None]
    return ids, specifiers[places] * keeps[..., None]
