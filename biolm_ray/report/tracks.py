"""Leave-one-out scores of each sequence as letters with a score each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from biolm_ray.errors import DataError
from biolm_ray.inference.scores_file import check_values, first_rows, reading_scores
from biolm_ray.tokenization.markers import MARKERS

GAP = "."
UNKNOWN = "?"
NUCLEIC = frozenset("ACGTUNRYSWKMBDHV")
JUNCTION_ENDING = "ej"
_NEEDED = ("sequence", "token", "pred", "start_offset", "end_offset")


@dataclass(frozen=True, kw_only=True)
class Track:
    """The scores of one sequence, letter by letter, without its markers.

    A token's score is shared equally among its letters. A letter that several edits touch
    (windows, or one token replaced by several others) has the mean of what they give it. What is
    inserted counts for the token behind it.

    Attributes:
        letters: As in the tokens; GAP where nothing was scored, UNKNOWN for letters not known.
        offsets: Place of each letter in the sequence as the scores count it, markers included.
        scores: Edited minus original prediction; NaN at gaps.
        junctions: Whether an exon ends with the letter.
        marker_texts, marker_offsets, marker_scores: The markers among the tokens.
        prediction, label: Of the unedited sequence, as the table tells them.
    """

    sequence: str
    letters: str
    offsets: Int[np.ndarray, " length"]
    scores: Float[np.ndarray, " length"]
    junctions: Bool[np.ndarray, " length"]
    marker_texts: tuple[str, ...] = ()
    marker_offsets: Int[np.ndarray, " markers"]
    marker_scores: Float[np.ndarray, " markers"]
    prediction: float | str | None = None
    label: float | str | None = None

    @cached_property
    def plain(self) -> str:
        """The letters in capitals, U for T: what motifs are looked for in."""
        return self.letters.upper().replace("T", "U")

    @property
    def first_base(self) -> int | None:
        """How many letters of the sequence come before the first; None where markers hide it."""
        first = int(self.offsets[0]) if len(self.offsets) else 0
        first = min([first, *self.marker_offsets.tolist()])
        return None if first and self.marker_texts else first


def read_score_pieces(
    path: Path, column: str = "loo", *, is_class: bool = False
) -> Iterator[pd.DataFrame]:
    """Read a table of leave-one-out scores, as Parquet or as CSV, packed or not.

    Args:
        path: The table.
        column: The scores to be read; they are column loo of what is given back.
        is_class: Labels and predictions are texts, whatever they look like.

    Yields:
        Pieces of whole sequences, in order: a row group of Parquet at a time, CSV as one. What is
        inserted behind the last token has no token; its text is empty.

    Raises:
        DataError: It has no scores, lacks a column, or is damaged.
    """
    needed = [*_NEEDED, column]
    begun: list[pd.DataFrame] = []
    for piece in _row_groups(path, [*needed, "label"], is_class):
        missing = [name for name in needed if name not in piece.columns]
        if missing:
            raise DataError(
                f"{path}: no column '{missing[0]}'; a table of leave-one-out scores has the "
                f"columns {', '.join(needed)}"
            )
        check_values(piece, path, scores=column, offsets=["start_offset", "end_offset"])
        token = piece["token"].astype(object).fillna("").astype(str)
        piece = piece.rename(columns={column: "loo"}).assign(token=token)
        table = pd.concat([*begun, piece], ignore_index=True)
        last = _bounds(table)[-2] if len(table) else 0
        if last:
            yield table.iloc[:last]
        begun = [table.iloc[last:]]
    if not any(map(len, begun)):
        raise DataError(f"{path}: no scores below the header; expected a row per token")
    yield from begun


def _row_groups(path: Path, wanted: Sequence[str], is_class: bool) -> Iterator[pd.DataFrame]:
    if path.suffix == ".parquet":
        with reading_scores(path), pq.ParquetFile(path) as file:
            names = [name for name in wanted if name in file.schema_arrow.names]
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=names).to_pandas()
        return
    texts = ["sequence", "token", *(["label", "pred"] if is_class else [])]
    empty = {name: [""] for name in wanted if name not in ("sequence", "token")}
    with reading_scores(path):
        yield pd.read_csv(
            path,
            usecols=lambda name: name in wanted,
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            na_values=empty,
        )


def make_tracks(table: pd.DataFrame) -> list[Track]:
    """Make the track of each sequence, in the order of the table."""
    if (table["end_offset"] == table["start_offset"]).all():
        table = table.assign(end_offset=_next_starts(table))
    table = pd.DataFrame(table[table["end_offset"] > table["start_offset"]])
    return [_make_track(table.iloc[a:b]) for a, b in pairwise(_bounds(table)) if b > a]


def is_nucleic(tracks: Sequence[Track]) -> bool:
    """Tell DNA and RNA from protein by the letters that occur, leaving out those not known."""
    found = set().union(*(track.plain for track in tracks)) - {GAP, UNKNOWN}
    return found <= NUCLEIC


def scored_stretches(track: Track) -> Iterator[tuple[int, int]]:
    """The stretches without a gap, half-open."""
    edges = np.diff(np.concatenate([[0], np.isfinite(track.scores), [0]]).astype(np.int8))
    yield from zip(
        np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True
    )


def _bounds(table: pd.DataFrame) -> list[int]:
    """The first row of each sequence, and the end."""
    first = first_rows(table["sequence"], table["start_offset"].to_numpy(np.int64))
    return [*first.tolist(), len(table)]


def _next_starts(table: pd.DataFrame) -> Int[np.ndarray, " rows"]:
    """Where the token ends that something was put before: where the next begins."""
    starts = table["start_offset"].to_numpy(np.int64)
    ends = starts.copy()
    for first, last in pairwise(_bounds(table)):
        places = np.unique(starts[first:last])
        after = np.append(places[1:], places[-1:])
        ends[first:last] = after[np.searchsorted(places, starts[first:last])]
    return ends


def _make_track(table: pd.DataFrame) -> Track:
    starts = table["start_offset"].to_numpy(np.int64)
    sizes = table["end_offset"].to_numpy(np.int64) - starts
    texts = table["token"].astype(object).tolist()
    read = [_read_token(text, size) for text, size in zip(texts, sizes.tolist(), strict=True)]
    first = int(starts.min())
    length = int((starts + sizes).max()) - first
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = np.repeat(starts - first, sizes) + within
    weights = np.repeat(table["loo"].to_numpy(np.float64) / sizes, sizes)
    counts = np.bincount(places, minlength=length)
    sums = np.bincount(places, weights, minlength=length)
    scores = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    letters = np.full(length, GAP, dtype="U1")
    letters[places] = np.array(list("".join(text for text, _ in read)), dtype="U1")
    junctions = np.zeros(length, dtype=bool)
    junctions[places] = np.array([end for _, ends in read for end in ends], dtype=bool)
    marks = _marker_places(letters)
    junctions[:-1] |= letters[1:] == "x" if marks.any() else False
    kept = ~marks
    row = table.iloc[0]
    return Track(
        sequence=str(row["sequence"]),
        letters="".join(letters[kept].tolist()),
        offsets=first + np.flatnonzero(kept),
        scores=scores[kept],
        junctions=junctions[kept],
        marker_texts=tuple(letters[marks].tolist()),
        marker_offsets=first + np.flatnonzero(marks),
        marker_scores=scores[marks],
        prediction=_value(row["pred"]),
        label=_value(row["label"]) if "label" in table.columns else None,
    )


def _marker_places(letters: np.ndarray) -> Bool[np.ndarray, " length"]:
    """Where markers stand; their letters are markers among nucleotides only."""
    marks = np.isin(letters, list(MARKERS))
    others = {letter.upper() for letter in set(letters[~marks].tolist())} - {GAP, UNKNOWN}
    return marks if others <= NUCLEIC else np.zeros_like(marks)


@lru_cache(maxsize=1 << 16)
def _read_token(token: str, size: int) -> tuple[str, tuple[bool, ...]]:
    """The letters of a token that counts `size`, and whether an exon ends with each.

    An atomic token counts 1 whatever its text; its first letter stands for it. The junctions
    inside a k-mer or a window use no letter.
    """
    if len(token) == size:
        return token, (False,) * size
    plain = token.replace(JUNCTION_ENDING, "\0").replace("x", "\0") if len(token) > 1 else token
    letters = plain.replace("\0", "")
    if not token.startswith("[") and len(letters) == size:
        ends = [False] * size
        place = 0
        for letter in plain:
            if letter != "\0":
                place += 1
            elif place:
                ends[place - 1] = True
        return letters, tuple(ends)
    if size == 1 and not token.startswith("[") and token:
        return token[0], (False,)
    return UNKNOWN * size, (False,) * size


def _value(value: object) -> float | str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]
