"""Dividing an input into pieces, scanning each once, and numbering their rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from biolm_ray.data.arrow_files import count_rows, row_group_ranges
from biolm_ray.data.fasta import RECORD_MARK
from biolm_ray.data.filesystems import access_errors
from biolm_ray.data.inputs import Input
from biolm_ray.data.lines import BYTE_ORDER_MARK, CHUNK_BYTES, TAIL_BYTES, LineCount
from biolm_ray.data.sources import REQUEST_BYTES, SourceFile
from biolm_ray.errors import DataError

PIECE_BYTES = 16 << 20
"""Least size of a piece of a large file; a piece is read in small blocks, whatever its size."""
LARGEST_FACTOR = 8
FEW_PIECES = 24
"""Files of more pieces than this are cut into larger ones, up to LARGEST_FACTOR times as large."""
MARKS: dict[str, bytes] = {"table": b"", "jsonl": b"", "fasta": RECORD_MARK}
"""The formats that are text, and what each of their records begins with."""


@dataclass(frozen=True)
class Piece:
    """A part of one file that is read by itself.

    Attributes:
        file_index: Which file of the plan.
        start: First byte.
        stop: Byte after the last; None for the rest of the file. Lines and records belong to the
            piece they begin in.
        row_groups: First and one past the last row group, of parquet.
    """

    file_index: int
    start: int = 0
    stop: int | None = None
    row_groups: tuple[int, int] | None = None


@dataclass(frozen=True)
class PieceScan:
    """What one pass over a piece found.

    Attributes:
        digest: SHA-256 of its bytes, of text once it is decompressed and UTF-8.
        num_lines: Lines that begin in it.
        num_records: Those that are not blank; the header is one of them. Records of FASTA.
        num_bytes: Bytes that were hashed.
    """

    digest: str
    num_lines: int
    num_records: int
    num_bytes: int


@dataclass(frozen=True)
class NumberedPiece:
    """A piece that holds rows.

    Attributes:
        first_row: 0-based number of its first row in the whole input.
        first_line: 1-based number in its file of the first line that begins in it.
        num_skipped: How many of its first lines that are not blank are no rows: the header, and
            lines above it.
    """

    piece: Piece
    first_row: int
    first_line: int
    num_skipped: int = 0


def divide(plan: Input) -> list[Piece]:
    """Divide the files into pieces, in the order of the source."""
    pieces: list[Piece] = []
    for index, file in enumerate(plan.files):
        if file.format == "parquet":
            pieces += [
                Piece(index, start, stop, (first, last))
                for start, stop, first, last in row_group_ranges(file, piece_bytes(file.size))
            ]
        elif file.format == "datasets" or not file.can_seek:
            pieces.append(Piece(index))
        else:
            step = piece_bytes(file.size)
            pieces += [
                Piece(index, start, min(start + step, file.size))
                for start in range(0, file.size, step)
            ]
    return pieces


def piece_bytes(file_size: int) -> int:
    """The size of a file's pieces: each costs a task, and there should be some for every core."""
    factor = file_size // (FEW_PIECES * PIECE_BYTES)
    return PIECE_BYTES * min(max(factor, 1), LARGEST_FACTOR)


def scan_piece(plan: Input, piece: Piece) -> PieceScan:
    """Hash a piece and count what begins in it, in one pass over its bytes.

    What follows a damage of a compressed file, as where a gzip file is cut off, counts as one
    record; `read_piece` gives its problem.

    Raises:
        DataError: The file cannot be read, or not as far as when it was planned.
    """
    file = plan.files[piece.file_index]
    return _scan_text(file, piece) if file.format in MARKS else _scan_typed(file, piece)


def _scan_typed(file: SourceFile, piece: Piece) -> PieceScan:
    digest = hashlib.sha256()
    num_bytes = 0
    num_rows = count_rows(file, piece.row_groups)
    try:
        with file.open_text(REQUEST_BYTES) as stream:
            stream.seek(piece.start)
            while chunk := stream.read(_wanted(piece, num_bytes)):
                digest.update(chunk)
                num_bytes += len(chunk)
    except access_errors(file.path) as error:
        raise DataError(f"{file.name} cannot be read further: {error}") from error
    return PieceScan(digest.hexdigest(), num_rows, num_rows, num_bytes)


def _scan_text(file: SourceFile, piece: Piece) -> PieceScan:
    mark = MARKS[file.format]
    digest = hashlib.sha256()
    num_bytes = 0
    with file.open_text(REQUEST_BYTES) as stream:
        at_line_start = piece.start == 0
        if not at_line_start:
            stream.seek(piece.start - 1)
            at_line_start = stream.read(1) == b"\n"
        count = LineCount(at_line_start=at_line_start, mark=mark)
        try:
            while chunk := stream.read(_wanted(piece, num_bytes)):
                digest.update(chunk)
                is_first = piece.start == 0 and num_bytes == 0
                count.add(chunk.removeprefix(BYTE_ORDER_MARK) if is_first else chunk)
                num_bytes += len(chunk)
            while count.is_undecided and (chunk := stream.read(TAIL_BYTES)):
                count.decide(chunk)
        except access_errors(file.path) as error:
            if file.can_seek:
                raise DataError(f"{file.name} cannot be read further: {error}") from error
            digest.update(str(error).encode())
            count.break_off()
    return PieceScan(digest.hexdigest(), count.num_lines, count.num_records, num_bytes)


def _wanted(piece: Piece, num_read: int) -> int:
    if piece.stop is None:
        return CHUNK_BYTES
    return min(CHUNK_BYTES, piece.stop - piece.start - num_read)


def number_pieces(
    plan: Input, pieces: Sequence[Piece], scans: Sequence[PieceScan]
) -> list[NumberedPiece]:
    """Number the rows and lines of the scanned pieces, the first ones of the input.

    Pieces without rows are left out, as are those beyond the plan's `max_rows`.

    Raises:
        DataError: There are no rows.
    """
    numbered: list[NumberedPiece] = []
    row, line, file_index, num_to_skip = 0, 1, -1, 0
    for piece, scan in zip(pieces, scans, strict=False):
        if plan.max_rows is not None and row >= plan.max_rows:
            break
        if piece.file_index != file_index:
            file_index, line = piece.file_index, 1
            num_to_skip = plan.num_skipped(file_index)
        num_skipped = min(num_to_skip, scan.num_records)
        num_rows = scan.num_records - num_skipped
        if num_rows:
            numbered.append(NumberedPiece(piece, row, line, num_skipped))
        num_to_skip -= num_skipped
        row += num_rows
        line += scan.num_lines
    if not numbered:
        raise DataError(f"{', '.join(file.name for file in plan.files)}: there are no rows")
    return numbered


def source_digest(scans: Sequence[PieceScan]) -> str:
    """One digest for the content of the whole input, from those of its pieces in order."""
    digest = hashlib.sha256()
    for scan in scans:
        digest.update(f"{scan.digest} {scan.num_bytes}\n".encode())
    return digest.hexdigest()
