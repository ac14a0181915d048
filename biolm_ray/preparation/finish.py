"""From stored pieces to a prepared data set: rules over all rows, and the manifest."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biolm_ray.errors import DataError
from biolm_ray.preparation.alphabets import mixtures
from biolm_ray.preparation.checks import (
    check_unknown_share,
    most_frequent,
    repeated_id_problem,
    repeats,
    rows_with_equal_hashes,
    tell_gaps,
)
from biolm_ray.preparation.manifest import (
    MANIFEST,
    PLACES,
    REJECTED,
    Part,
    PreparedManifest,
    Summary,
)
from biolm_ray.preparation.piece_work import EncodingJob
from biolm_ray.preparation.rejects import REJECT_SCHEMA, BadRows
from biolm_ray.preparation.row_files import PLACES_SCHEMA
from biolm_ray.preparation.stored_pieces import (
    STATE,
    PieceState,
    read_column,
    read_places,
    read_rejected,
    read_state,
    without_rows,
)
from biolm_ray.records import record_values
from biolm_ray.tokenization.hints import unknown_hint
from biolm_ray.tokenization.tokenizer import Tokenizer

ID_RULE = "id"


def finish(
    job: EncodingJob,
    num_pieces: int,
    bad_rows: BadRows,
    *,
    max_unknown_share: float,
    facts: dict[str, Any],
) -> None:
    """Check what concerns all rows and write places, rejected rows and, last, the manifest.

    Args:
        job: With it all pieces were stored.
        num_pieces: How many there are.
        bad_rows: Gets the rows whose identifier repeats.
        max_unknown_share: Of the tokens.
        facts: What else the manifest is to hold.

    Raises:
        DataError: An identifier repeats and the run is to stop; no row is left; too many tokens
            are unknown.
    """
    states = [read_state(job.target, piece) for piece in range(num_pieces)]
    if job.hash_ids:
        repeated = _repeated_ids(job, states)
        bad_rows.add(repeated, 0)
        states = _without(job, states, repeated)
    else:
        repeated = REJECT_SCHEMA.empty_table()
    rejects = pa.concat_tables(
        [*(read_rejected(job.target, state) for state in states), repeated]
    ).sort_by("row")
    summary = _summary(states, job.tokenizer)
    if not summary["rows"]:
        first = f"; the first is {bad_rows.first}" if bad_rows.first else ""
        raise DataError(
            f"{job.plan.name}: none of its rows can be used: {bad_rows.described}{first}"
        )
    tell_gaps(job.plan.name, summary["gaps"])
    check_unknown_share(job.plan.name, summary, max_unknown_share, is_own=job.is_own)
    dropped = repeated["row"].to_numpy()
    sizes = {
        PLACES: job.target.write(PLACES, lambda file: _write_places(file, job, states, dropped))
    }
    if len(rejects):
        sizes[REJECTED] = job.target.write(REJECTED, lambda file: pq.write_table(rejects, file))
    manifest = PreparedManifest(
        **facts,
        vocabulary_size=len(job.tokenizer.vocabulary),
        columns=tuple(job.schema.names),
        num_specifiers=job.tokenizer.settings.num_specifiers,
        summary=Summary.model_validate(summary),
        rejected=dict(Counter(rejects["rule"].to_pylist())),
        parts=tuple(Part.model_validate(part) for state in states for part in state.parts),
        sizes=sizes,
    )
    written = json.dumps(record_values(manifest), ensure_ascii=False).encode()
    job.target.write(MANIFEST, lambda file: file.write(written))
    (job.target / STATE).delete()


def _repeated_ids(job: EncodingJob, states: Sequence[PieceState]) -> pa.Table:
    """The rows whose identifier stands on an earlier row, as rejects."""
    stored = [state for state in states if state.num_rows]
    hashes = [read_places(job.target, state, ["id_hash"])["id_hash"] for state in stored]
    candidates = rows_with_equal_hashes([column.to_numpy() for column in hashes])
    found: list[_Candidate] = []
    start = 0
    for state in stored:
        stop = start + state.num_rows
        mine = candidates[(candidates >= start) & (candidates < stop)] - start
        start = stop
        if len(mine):
            ids = read_column(job.target, state, "id").take(mine).to_pylist()
            places = read_places(job.target, state, ["row", "line"]).take(mine).to_pylist()
            found += [
                _Candidate(name, state.file, place["line"], place["row"])
                for name, place in zip(ids, places, strict=True)
            ]
    records = [
        {
            "row": found[index].row,
            "file": found[index].file,
            "line": found[index].line,
            "rule": ID_RULE,
            "problem": repeated_id_problem(
                found[index].id, _other_place(job, found[first], found[index].file)
            ),
            "raw": found[index].id,
        }
        for index, first in repeats([candidate.id for candidate in found]).items()
    ]
    return pa.Table.from_pylist(records, schema=REJECT_SCHEMA)


@dataclass(frozen=True)
class _Candidate:
    """A row whose identifier may repeat."""

    id: str
    file: int
    line: int
    row: int


def _other_place(job: EncodingJob, candidate: _Candidate, file: int) -> str:
    where = job.plan.where(candidate.file, candidate.line)
    return where.rsplit(", ", 1)[-1] if candidate.file == file else where


def _without(job: EncodingJob, states: list[PieceState], repeated: pa.Table) -> list[PieceState]:
    if not len(repeated):
        return states
    dropped = repeated["row"].to_numpy()
    unknown = job.tokenizer.special_ids["[UNK]"]
    return [without_rows(job.target, state, dropped, unknown) for state in states]


def _write_places(
    file: BinaryIO, job: EncodingJob, states: Sequence[PieceState], dropped: np.ndarray
) -> None:
    with pq.ParquetWriter(file, PLACES_SCHEMA, compression="zstd") as writer:
        for state in states:
            if not state.num_rows:
                continue
            places = read_places(job.target, state, ["row", "line"])
            if len(dropped):
                kept = ~np.isin(places["row"].to_numpy(), dropped)
                places = places.filter(pa.array(kept))
            numbers = np.full(len(places), state.file, np.int32)
            writer.write_table(
                pa.table({"file": numbers, "line": places["line"]}, schema=PLACES_SCHEMA)
            )


def _summary(states: Sequence[PieceState], tokenizer: Tokenizer) -> dict[str, Any]:
    lengths: Counter[int] = Counter()
    unknown_texts: Counter[str] = Counter()
    for state in states:
        lengths.update(state.lengths)
        unknown_texts.update(state.unknown_texts)
    num_rows, num_unknown = lengths.total(), sum(state.num_unknown for state in states)
    num_tokens = sum(length * count for length, count in lengths.items())
    quantiles = weighted_quantiles(lengths, (0.0, 0.5, 0.95, 1.0)) if num_rows else [0.0] * 4
    return {
        "rows": num_rows,
        "tokens": num_tokens,
        "length_min": int(quantiles[0]),
        "length_median": quantiles[1],
        "length_p95": quantiles[2],
        "length_max": int(quantiles[3]),
        "unknown_tokens": num_unknown,
        "unknown_share": num_unknown / max(num_tokens, 1),
        "unknown_examples": most_frequent(unknown_texts),
        "unknown_hint": unknown_hint(unknown_texts, tokenizer),
        "mixtures": mixtures(sum((state.letters for state in states), Counter()), tokenizer),
        "gaps": dict(sum((state.gaps for state in states), Counter())),
    }


def weighted_quantiles(counts: Counter[int], shares: Sequence[float]) -> list[float]:
    """Quantiles of values that are given with their counts, interpolated as numpy does."""
    values = np.array(sorted(counts))
    ends = np.cumsum([counts[value] for value in values.tolist()])
    places = np.asarray(shares) * (ends[-1] - 1)
    low = values[np.searchsorted(ends, np.floor(places), side="right")]
    high = values[np.searchsorted(ends, np.ceil(places), side="right")]
    return (low + (high - low) * (places - np.floor(places))).tolist()
