"""What one task does with a piece of the input: count its tokens, or encode and store its rows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from biolm_ray.data.columns import kind_of
from biolm_ray.data.reading import Input, NumberedPiece, read_piece
from biolm_ray.data.store import Folder
from biolm_ray.preparation.alphabets import letter_kinds
from biolm_ray.preparation.checks import MAX_UNKNOWN_IN_ROW, count_gaps, mostly_unknown
from biolm_ray.preparation.rejects import (
    REJECT_SCHEMA,
    SKIPPED_RULE,
    bad_rows_of,
    num_to_refuse,
)
from biolm_ray.preparation.row_files import binary_rows
from biolm_ray.preparation.stored_pieces import PieceState, PieceWriter
from biolm_ray.tokenization.blocks.encoded import EncodedBlock
from biolm_ray.tokenization.fitting import (
    TokenCounts,
    clean_texts,
    count_tokens,
    in_sample,
    merge,
)
from biolm_ray.tokenization.hints import unknown_hint
from biolm_ray.tokenization.markers import NO_UTR3
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer

TOKENS_RULE, UNKNOWN_RULE = "tokens", "unknown"
TRACED_ROWS = 100
"""Rows of a block for whose unknown tokens a remedy is looked for."""
REPORT_BYTES = 16 << 20
"""Text from which on a task reports what it has found."""
NO_TOKENS = "no token of the sequence is left to encode"


@dataclass(frozen=True)
class FittingJob:
    """What counting needs to know.

    Attributes:
        num_rows: Of the whole input.
        sample_size: Rows of the sample, None for all.
    """

    plan: Input
    settings: TokenizerSettings
    num_rows: int
    sample_size: int | None
    seed: int


@dataclass(frozen=True)
class Report:
    """What was found in some consecutive rows.

    Attributes:
        rejects: The bad ones.
        num_rows: How many there were, the bad ones included.
        counts: Of their tokens, when a vocabulary of whole tokens is learnt.
        texts: Cleaned, when bpe is learnt.
        gaps: Signs in sequences that are no letters, with their counts, when a vocabulary is
            learnt.
    """

    rejects: pa.Table
    num_rows: int
    counts: TokenCounts | None = None
    texts: list[str] = field(default_factory=list)
    gaps: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class EncodingJob:
    """What encoding needs to know.

    Attributes:
        schema: Of the prepared data set, whose folder is `target`.
        stop: Whether a piece is left as soon as a row of it cannot be used.
        hash_ids: Whether identifiers are to be compared.
        is_own: Whether the vocabulary was learnt from these data.
        max_unknown: Largest share of a row's tokens that may be unknown.
    """

    plan: Input
    tokenizer: Tokenizer
    schema: pa.Schema
    target: Folder
    stop: bool
    hash_ids: bool
    is_own: bool = False
    max_unknown: float = MAX_UNKNOWN_IN_ROW


def count_piece(piece: NumberedPiece, *, job: FittingJob) -> Iterator[Report]:
    """Count the tokens of a piece; for bpe, clean its texts."""
    return _gathered(_count_blocks(piece, job))


def encode_piece(item: tuple[int, NumberedPiece], *, job: EncodingJob) -> Iterator[Report]:
    """Encode the rows of a piece, given with its number, and store them.

    With `job.stop`, nothing more is done once a row cannot be used.
    """
    return _gathered(_encode_blocks(*item, job))


def _gathered(reports: Iterator[tuple[int, Report]]) -> Iterator[Report]:
    """Put the reports of blocks together, each given with the size of its text in bytes."""
    waiting: list[Report] = []
    num_bytes = 0
    for size, report in reports:
        waiting.append(report)
        num_bytes += size
        if num_bytes >= REPORT_BYTES:
            yield _together(waiting)
            waiting, num_bytes = [], 0
    if waiting:
        yield _together(waiting)


def _together(reports: list[Report]) -> Report:
    counts = [report.counts for report in reports if report.counts is not None]
    return Report(
        rejects=pa.concat_tables([report.rejects for report in reports]),
        num_rows=sum(report.num_rows for report in reports),
        counts=merge(counts) if counts else None,
        texts=[text for report in reports for text in report.texts],
        gaps=sum((report.gaps for report in reports), Counter()),
    )


def _count_blocks(piece: NumberedPiece, job: FittingJob) -> Iterator[tuple[int, Report]]:
    file = piece.piece.file_index
    for block in read_piece(job.plan, piece):
        sampled = in_sample(block["row"].to_numpy(), job.num_rows, job.sample_size, job.seed)
        num_rows = len(block)
        if not sampled.all():
            block = block.filter(pa.array(sampled))
        good, rejects = _parted(block, file)
        texts = _texts(good)
        if job.settings.encoding == "bpe":
            cleaned, problems = clean_texts(texts, job.settings)
            cleaned = [text for row, text in enumerate(cleaned) if row not in problems]
            report = Report(rejects, num_rows, texts=cleaned)
        else:
            counts = count_tokens(texts, job.settings)
            problems = counts.problems
            report = Report(rejects, num_rows, counts=counts)
        rejects = _with_problems(rejects, good, problems, file)
        gaps = count_gaps(texts, job.settings)
        yield texts.nbytes, replace(report, rejects=rejects, gaps=gaps)


def _encode_blocks(
    number: int, piece: NumberedPiece, job: EncodingJob
) -> Iterator[tuple[int, Report]]:
    file = piece.piece.file_index
    kinds = letter_kinds(job.tokenizer)
    state = PieceState(number, file)
    writer = PieceWriter(job.target, state, hashed=job.hash_ids, kinds=kinds)
    for block in read_piece(job.plan, piece):
        rows, encoded, rejects = encode_block(block, file, job)
        yield block["sequence"].nbytes, Report(rejects, len(block))
        if job.stop and num_to_refuse(rejects):
            return
        writer.add(rows, encoded, rejects, count_gaps(_texts(block), job.tokenizer.settings))
    writer.close()


def encode_block(
    block: pa.Table, file: int, job: EncodingJob
) -> tuple[pa.Table, EncodedBlock, pa.Table]:
    """Turn the texts of a block into token ids.

    Returns:
        The rows that can be used (`line`, then the columns of the prepared data set); their
        encoding; the others.
    """
    good, rejects = _parted(block, file)
    encoded = job.tokenizer.encode_block(_texts(good))
    lost = _mostly_unknown(good, encoded, job)
    if lost:
        rejects = _with_problems(rejects, good, lost, file, UNKNOWN_RULE)
        good = good.filter(pa.array(~np.isin(np.arange(len(good)), list(lost))))
        encoded = job.tokenizer.encode_block(_texts(good))
    lengths = np.diff(encoded.offsets)
    problems = dict.fromkeys(np.flatnonzero(lengths == 0).tolist(), NO_TOKENS)
    problems |= encoded.problems
    if problems:
        rejects = _with_problems(rejects, good, problems, file)
        good = good.filter(pa.array(lengths > 0))
    kept = lengths > 0
    bounds = np.concatenate([[0], np.cumsum(lengths[kept])])
    columns: dict[str, Any] = {
        "row": good["row"],
        "id": good["id"],
        "length": lengths[kept].astype(np.int32),
        "center": encoded.centers[kept].astype(np.int32),
        "token_ids": binary_rows(encoded.token_ids, bounds),
    }
    if "specifiers" in job.schema.names:
        values = encoded.specifiers
        if values is None:
            num_specifiers = job.tokenizer.settings.num_specifiers
            values = np.zeros((len(encoded.token_ids), num_specifiers), np.float32)
        columns["specifiers"] = binary_rows(values, bounds)
    for name in job.schema.names:
        if kind_of(name) in ("label", "weight", "split"):
            columns[name] = good[name]
    schema = job.schema.insert(0, pa.field("line", pa.int64()))
    return pa.table({"line": good["line"], **columns}, schema=schema), encoded, rejects


def _mostly_unknown(rows: pa.Table, encoded: EncodedBlock, job: EncodingJob) -> dict[int, str]:
    """Why rows cannot be used that consist mostly of unknown tokens, by row."""
    lengths = np.diff(encoded.offsets)
    lost = np.flatnonzero(encoded.num_unknown > job.max_unknown * lengths).tolist()
    problems = {}
    for row in lost:
        hint, unknown, gaps = "", Counter(), Counter()
        if len(problems) < TRACED_ROWS:
            text = _texts(rows.slice(row, 1))
            unknown = job.tokenizer.encode_block(text).unknown_texts
            gaps = count_gaps(text, job.tokenizer.settings)
            hint = unknown_hint(unknown, job.tokenizer)
        counts = int(encoded.num_unknown[row]), int(lengths[row])
        problems[row] = mostly_unknown(*counts, hint, unknown, gaps)
    return problems


def _parted(block: pa.Table, file: int) -> tuple[pa.Table, pa.Table]:
    """The good rows of a block, and the others as rejects."""
    if block["problem"].null_count == len(block):
        return block, REJECT_SCHEMA.empty_table()
    return block.filter(block["problem"].is_null()), bad_rows_of(block, file)


def _with_problems(
    rejects: pa.Table,
    rows: pa.Table,
    problems: dict[int, str],
    file: int,
    rule: str = TOKENS_RULE,
) -> pa.Table:
    """Add rows whose sequence cannot be encoded, all in the order of the source."""
    if not problems:
        return rejects
    chosen = rows.take(sorted(problems))
    reasons = [problems[row] for row in sorted(problems)]
    more = pa.table(
        {
            "row": chosen["row"],
            "file": np.full(len(chosen), file, np.int32),
            "line": chosen["line"],
            "rule": [SKIPPED_RULE if why == NO_UTR3 else rule for why in reasons],
            "problem": reasons,
            "raw": chosen["sequence"],
        },
        schema=REJECT_SCHEMA,
    )
    return pa.concat_tables([rejects, more]).sort_by("row")


def _texts(rows: pa.Table) -> pa.LargeStringArray:
    texts = rows["sequence"].combine_chunks()
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.chunk(0) if texts.num_chunks else pa.array([], pa.large_string())
    return texts
