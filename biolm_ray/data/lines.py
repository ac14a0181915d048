"""Lines of a file by byte range: any division of the bytes gives every line exactly once."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class LineRange:
    """Some consecutive lines of a file.

    Attributes:
        start: First byte.
        stop: Byte after the last line; None for the rest of the file.
        first_line: 1-based number of the line at `start`.
        first_row: 0-based data row that the next line which is not blank holds; -1 while the
            header is still to come.
    """

    start: int
    stop: int | None
    first_line: int
    first_row: int


@dataclass(frozen=True)
class Scan:
    """What one pass over the text found.

    Attributes:
        ranges: Consecutive; together they hold the scanned rows.
        num_rows: Data rows: neither header nor blank.
        digest: SHA-256 of the scanned bytes.
    """

    ranges: tuple[LineRange, ...]
    num_rows: int
    digest: str


def lines_in_range(file: BinaryIO, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Yield the lines that begin in [start, stop), without their ends (LF or CRLF).

    A line that runs across `start` belongs to the range before. Blank lines are yielded too, so
    that lines can be counted. The byte order mark of the file is left out.
    """
    position = start
    if start:
        file.seek(start - 1)
        position += len(file.readline()) - 1
    while stop is None or position < stop:
        line = file.readline()
        if not line:
            return
        if position == 0:
            position = len(line)
            line = line.removeprefix(BYTE_ORDER_MARK)
        else:
            position += len(line)
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def scan_lines(
    file: BinaryIO, *, has_header: bool, range_bytes: int, max_rows: int | None = None
) -> Scan:
    """Count the rows, hash the bytes and divide the file into ranges that end at line ends.

    Args:
        file: Read once, from its start.
        has_header: Whether the first line that is not blank names the columns.
        range_bytes: Least size of a range; the last one may be smaller.
        max_rows: Stop after so many data rows, without reading the rest.
    """
    ranges: list[LineRange] = []
    row = first_row = -1 if has_header else 0
    number = first_line = 1
    start = position = 0
    digest = hashlib.sha256()
    for line in file:
        if row == max_rows:
            break
        if position - start >= range_bytes:
            ranges.append(LineRange(start, position, first_line, first_row))
            start, first_line, first_row = position, number, row
        digest.update(line)
        if (line if position else line.removeprefix(BYTE_ORDER_MARK)).strip():
            row += 1
        position += len(line)
        number += 1
    if position > start:
        ranges.append(LineRange(start, position, first_line, first_row))
    return Scan(tuple(ranges), max(row, 0), digest.hexdigest())
