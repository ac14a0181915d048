"""Reading an input piece by piece: each row with its numbers, its text and what is wrong."""

from collections.abc import Iterator

import pyarrow as pa

from biolm_ray.data.arrow_files import read_typed
from biolm_ray.data.fasta import find_records, read_records
from biolm_ray.data.fields import RowProblem
from biolm_ray.data.filesystems import access_errors
from biolm_ray.data.inputs import Input, block_schema, plan_input
from biolm_ray.data.json_lines import read_json_lines
from biolm_ray.data.lines import find_lines, line_blocks
from biolm_ray.data.pieces import (
    MARKS,
    NumberedPiece,
    Piece,
    PieceScan,
    divide,
    number_pieces,
    scan_piece,
    source_digest,
)
from biolm_ray.data.rows import broken_block
from biolm_ray.data.sources import REQUEST_BYTES
from biolm_ray.data.table import read_lines
from biolm_ray.errors import DataError

_READERS = {
    "table": (find_lines, read_lines),
    "jsonl": (find_lines, read_json_lines),
    "fasta": (find_records, read_records),
}

__all__ = [
    "Input",
    "NumberedPiece",
    "Piece",
    "PieceScan",
    "block_schema",
    "divide",
    "number_pieces",
    "plan_input",
    "read_piece",
    "scan_piece",
    "source_digest",
]


def read_piece(plan: Input, numbered: NumberedPiece) -> Iterator[pa.Table]:
    """Read the rows of a piece as blocks of a few megabytes; see `block_schema`.

    Rows that cannot be used are kept, with the rule they break, the problem and their text. The
    damage of a compressed file is such a row, its last; its rule is `read`.

    Raises:
        DataError: A file that is not compressed cannot be read.
    """
    file = plan.files[numbered.piece.file_index]
    row, line = numbered.first_row, numbered.first_line
    blocks = _read_text(plan, numbered) if file.format in MARKS else _read_typed(plan, numbered)
    try:
        for block in blocks:
            if plan.max_rows is not None:
                block = block.slice(0, plan.max_rows - row)
            if len(block):
                yield block
                row += len(block)
                line = block["line"][-1].as_py() + 1
            if row == plan.max_rows:
                return
    except access_errors(file.path) as error:
        problem = RowProblem("read", f"the file cannot be read further: {error}")
        if file.can_seek:
            where = plan.where(numbered.piece.file_index, line)
            raise DataError(f"{where}: {problem.message}") from error
        yield broken_block(problem, plan.layouts[numbered.piece.file_index], row, line)


def _read_typed(plan: Input, numbered: NumberedPiece) -> Iterator[pa.Table]:
    piece = numbered.piece
    file, layout = plan.files[piece.file_index], plan.layouts[piece.file_index]
    return read_typed(file, layout, piece.row_groups, numbered.first_row, numbered.first_line)


def _read_text(plan: Input, numbered: NumberedPiece) -> Iterator[pa.Table]:
    piece = numbered.piece
    file, layout = plan.files[piece.file_index], plan.layouts[piece.file_index]
    find, read = _READERS[file.format]
    row, line, skip = numbered.first_row, numbered.first_line, numbered.num_skipped
    with file.open_text(REQUEST_BYTES) as stream:
        for text in line_blocks(stream, piece.start, piece.stop, mark=MARKS[file.format]):
            spans = find(text)
            wanted = spans.slice(skip, None)
            skip = max(skip - len(spans.starts), 0)
            yield read(text, wanted, layout, row, line)
            row += len(wanted.starts)
            line += spans.num_lines
