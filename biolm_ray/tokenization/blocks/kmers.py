"""K-mers of whole blocks: what `frame_kmers` does to one sequence, at once.

The letters of a block are taken out from between the markers. `s`, the centre and the ends of
rows bound segments of letters, and k-mers follow from the ranks of letters in their segment. A
junction belongs to a k-mer if it lies inside of one; other markers are put back at the end.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, UInt8

from biolm_ray.tokenization.blocks import rows
from biolm_ray.tokenization.blocks.codebook import NUM_LETTERS, Codebook
from biolm_ray.tokenization.blocks.joined_rows import FIRST_RESERVED, SPECIFIER
from biolm_ray.tokenization.blocks.spans import SpanNumbers
from biolm_ray.tokenization.blocks.token_codes import TokenCodes
from biolm_ray.tokenization.kmer import frame_kmers
from biolm_ray.tokenization.markers import CDS_START, EXON_JUNCTION

_START, _JUNCTION = ord(CDS_START), ord(EXON_JUNCTION)
_CENTER = SPECIFIER  # a byte that is no code
_PADDING = bytes([0xFF]) * 8


@dataclass(frozen=True)
class _Markers:
    """The markers of a block, the first centre of each row among them.

    Attributes:
        places: Their positions among all tokens.
        kinds: Their codes, `_CENTER` for a centre.
        before: How many letters of the block precede each.
    """

    places: Int[np.ndarray, " markers"]
    kinds: UInt8[np.ndarray, " markers"]
    before: Int[np.ndarray, " markers"]


def frame_block(
    tokens: TokenCodes, size: int, center: str | None = None
) -> tuple[TokenCodes, Int[np.ndarray, " rows"]]:
    """Join the tokens of every row into k-mers.

    Args:
        tokens: Those of a block, each a letter or a marker.
        size: Letters per k-mer.
        center: The first token of a row equal to it stays alone; frames run outward from it.

    Returns:
        The k-mers, and the index of the centre in each row, -1 where there is none.
    """
    if tokens.codes.dtype != np.uint8:
        narrow = _narrowed(tokens)
        if narrow is None:
            return _frame_one_by_one(tokens, size, center)
        tokens = narrow
    codes, center_places = _with_centers(tokens, center)
    markers = _markers(codes)
    letters = codes.tobytes().translate(None, bytes([_START, _JUNCTION, _CENTER]))
    row_bounds = tokens.offsets - np.searchsorted(markers.places, tokens.offsets)
    center_bounds = center_places - np.searchsorted(markers.places, center_places)
    bounds = _kmer_bounds(row_bounds, center_bounds, markers, size)
    places = np.searchsorted(bounds, markers.before)
    inside = bounds[places] != markers.before
    numbers = SpanNumbers()
    kmers = numbers.look_up_runs(bytearray(letters + _PADDING), bounds)
    _add_junctions(kmers, codes, bounds, markers.before, markers.before[inside], numbers)
    texts = [_text(raw, tokens.texts) for raw in numbers.texts]
    kinds, own, places = markers.kinds[~inside], markers.places[~inside], places[~inside]
    own_codes = np.zeros(256, dtype=np.int32)
    own_codes[[_START, _JUNCTION, _CENTER]] = len(texts) + np.arange(3)
    texts += [CDS_START, EXON_JUNCTION, center or ""]
    joined = np.insert(kmers, places, own_codes[kinds]) if len(own) else kmers
    offsets = np.searchsorted(bounds, row_bounds) + np.searchsorted(own, tokens.offsets)
    centers = np.full(tokens.num_rows, -1)
    has_center = center_places >= 0
    at = (places + np.arange(len(own)))[kinds == _CENTER]
    centers[has_center] = at - offsets[:-1][has_center]
    return replace(tokens, codes=joined, offsets=offsets, texts=texts), centers


def _with_centers(
    tokens: TokenCodes, center: str | None
) -> tuple[UInt8[np.ndarray, " tokens"], Int[np.ndarray, " rows"]]:
    """Mark the first centre of each row; its position is -1 in rows without one."""
    if center is None or center not in tokens.texts:
        return tokens.codes, np.full(tokens.num_rows, -1)
    hits = rows.positions_of(tokens.codes, tokens.texts.index(center))
    places = rows.first_in_rows(hits, tokens.offsets)
    codes = tokens.codes.copy()
    codes[places[places >= 0]] = _CENTER
    return codes, places


def _markers(codes: UInt8[np.ndarray, " tokens"]) -> _Markers:
    places = rows.positions_of(codes, _START, _JUNCTION, _CENTER)
    return _Markers(places, codes[places], places - np.arange(len(places)))


def _kmer_bounds(
    row_bounds: Int[np.ndarray, " rows+1"],
    center_bounds: Int[np.ndarray, " rows"],
    markers: _Markers,
    size: int,
) -> Int[np.ndarray, " kmers+1"]:
    """Where k-mers begin among the letters, in order; each ends where the next one begins.

    Args:
        row_bounds: Where rows begin and end among the letters.
        center_bounds: Where their centres stand; -1 for rows without one.
        markers: Of all rows.
        size: Letters per k-mer.
    """
    breaks = markers.before[markers.kinds != _JUNCTION]
    bounds = _distinct(np.sort(np.concatenate([row_bounds, breaks]), kind="stable"))
    first, num_letters = bounds[:-1], np.diff(bounds)
    # Left of a centre the frame ends at the segment's end, so its first k-mer is the shorter one.
    is_left = first < center_bounds[rows.rows_of(first, row_bounds)]
    lag = np.where(is_left, -num_letters % size, 0)
    num_kmers = (num_letters + lag + size - 1) // size
    # The step to a k-mer from the one before it is `size` but at the ends of segments.
    ends = rows.joined_offsets(num_kmers)
    steps = np.full(ends[-1] + 1, size)
    steps[0] = 0
    last = num_letters + lag - (num_kmers - 1) * size
    steps[ends[1:]] = np.where(num_kmers == 1, last - lag, last)
    is_short = (lag > 0) & (num_kmers > 1)
    steps[ends[:-1][is_short] + 1] -= lag[is_short]
    return np.cumsum(steps, out=steps)


def _add_junctions(
    kmers: Int[np.ndarray, " kmers"],
    codes: UInt8[np.ndarray, " tokens"],
    bounds: Int[np.ndarray, " kmers+1"],
    all_before: Int[np.ndarray, " markers"],
    before: Int[np.ndarray, " junctions"],
    numbers: SpanNumbers,
) -> None:
    """Number those k-mers anew, in place, that have junctions between their letters.

    Args:
        kmers: The numbers of all k-mers.
        codes: Of all letters and markers.
        bounds: Where k-mers begin and end among the letters.
        all_before: How many letters precede each marker.
        before: The same for the junctions inside of k-mers.
        numbers: Of the texts of k-mers.
    """
    if not len(before):
        return
    chosen = _distinct(np.searchsorted(bounds, before) - 1)
    first, last = (
        letter + np.searchsorted(all_before, letter, side="right")
        for letter in (bounds[chosen], bounds[chosen + 1] - 1)
    )
    buffer = bytearray(codes.tobytes() + _PADDING)
    kmers[chosen] = numbers.look_up(buffer, first, last - first + 1)


def _distinct(rising: Int[np.ndarray, " numbers"]) -> Int[np.ndarray, " distinct"]:
    return rising[np.diff(rising, prepend=-1) > 0]


def _text(raw: bytes, texts: list[str]) -> str:
    return raw.decode() if raw.isascii() else "".join([texts[code] for code in raw])


def _narrowed(tokens: TokenCodes) -> TokenCodes | None:
    """The tokens in codes of one byte; None if there are too many different ones."""
    used = [code for code in np.unique(tokens.codes).tolist() if code >= NUM_LETTERS]
    if NUM_LETTERS + len(used) > FIRST_RESERVED:
        return None
    table = np.arange(len(tokens.texts)).clip(max=NUM_LETTERS)
    table[used] = NUM_LETTERS + np.arange(len(used))
    texts = tokens.texts[:NUM_LETTERS] + [tokens.texts[code] for code in used]
    return replace(tokens, codes=table.astype(np.uint8)[tokens.codes], texts=texts)


def _frame_one_by_one(
    tokens: TokenCodes, size: int, center: str | None
) -> tuple[TokenCodes, Int[np.ndarray, " rows"]]:
    book, codes, lengths = Codebook(str), [], []
    centers = np.full(tokens.num_rows, -1)
    for row in range(tokens.num_rows):
        letters = tokens.codes[tokens.offsets[row] : tokens.offsets[row + 1]].tolist()
        kmers, centers[row] = frame_kmers([tokens.texts[code] for code in letters], size, center)
        codes += [book.code(kmer) for kmer in kmers]
        lengths.append(len(kmers))
    joined = np.array(codes, dtype=np.int32)
    framed = replace(tokens, codes=joined, offsets=rows.joined_offsets(lengths), texts=book.texts)
    return framed, centers
