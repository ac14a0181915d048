"""Lines and records by byte range: any division of the bytes gives each exactly once.

A line belongs to the range that its first byte lies in, however far it runs on.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from jaxtyping import Int

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = b" \t\n\r\x0b\x0c"
CHUNK_BYTES = 2 << 20
TAIL_BYTES = 256 << 10

Text: TypeAlias = bytes | bytearray
_NEWLINE = 10
_CARRIAGE_RETURN = 13
_IS_BLANK = np.isin(np.arange(256), list(BLANKS))


class Spans(NamedTuple):
    """Lines or records within a block of bytes.

    Attributes:
        starts: Their first bytes.
        stops: The bytes after their last ones.
        lines: How many lines of the block come before each.
        num_lines: Lines of the block, blank ones included.
    """

    starts: Int[np.ndarray, " rows"]
    stops: Int[np.ndarray, " rows"]
    lines: Int[np.ndarray, " rows"]
    num_lines: int

    def slice(self, first: int, last: int | None) -> "Spans":
        part = slice(first, last)
        return Spans(self.starts[part], self.stops[part], self.lines[part], self.num_lines)


class ByteStream(Protocol):
    """What is asked of an open file; `seek` only where a range does not begin at 0."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, position: int, /) -> int: ...


def line_blocks(
    file: ByteStream,
    start: int = 0,
    stop: int | None = None,
    *,
    mark: bytes = b"",
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[bytearray]:
    """Yield the lines that begin in [start, stop), many at a time, with their ends.

    The byte order mark of the file is left out. Memory is that of a chunk and the longest line.

    Args:
        file: At its first byte.
        mark: Blocks end only before a line that begins with it, so that records of several lines
            stay whole; lines before the range's first record come with the first block.
        chunk_bytes: Bytes read at a time, also the usual size of a block.
    """
    boundary = b"\n" + mark
    offset = max(start - 1, 0)
    if offset:
        file.seek(offset)
    held = bytearray()
    is_before_first, is_file_start = start > 0, start == 0
    while chunk := file.read(_read_size(offset + len(held), stop, chunk_bytes)):
        searched = max(len(held) - len(mark), 0)
        held += chunk
        if is_before_first:
            skipped = held.find(b"\n") + 1
            is_before_first = skipped == 0
            offset += skipped or len(held)
            del held[: skipped or len(held)]
            if stop is not None and offset >= stop:
                return
        is_last = False
        if stop is not None and offset + len(held) >= stop:
            is_last = True
            end = held.find(boundary, max(stop - 1 - offset, searched)) + 1
        else:
            end = held.rfind(boundary, searched) + 1
        if end:
            held, block = held[end:], held
            del block[end:]
            yield block.removeprefix(BYTE_ORDER_MARK) if is_file_start else block
            if is_last:
                return
            offset, is_file_start = offset + end, False
    if held:
        yield held.removeprefix(BYTE_ORDER_MARK) if is_file_start else held


def _read_size(position: int, stop: int | None, chunk_bytes: int) -> int:
    """Whole chunks, and past the end of the range little more than its last line."""
    if stop is None:
        return chunk_bytes
    if position < stop:
        return min(chunk_bytes, stop - position)
    return max(TAIL_BYTES, position - stop)


def find_lines(text: Text) -> Spans:
    """The lines of a block that are not blank, without their ends (LF or CRLF)."""
    starts, stops = line_bounds(text)
    kept = starts < stops
    values = np.frombuffer(text, np.uint8)
    for index in np.flatnonzero(kept & _IS_BLANK[values[starts]]).tolist():
        kept[index] = bool(text[starts[index] : stops[index]].strip())
    lines = np.flatnonzero(kept)
    ends = stops[lines] - (values[stops[lines] - 1] == _CARRIAGE_RETURN)
    return Spans(starts[lines], ends, lines, len(stops))


def line_bounds(
    text: Text,
) -> tuple[Int[np.ndarray, " lines"], Int[np.ndarray, " lines"]]:
    """First bytes of all lines of a block, and the bytes after their last ones."""
    stops = np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)
    if text and not text.endswith(b"\n"):
        stops = np.append(stops, len(text))
    return np.concatenate([[0], stops[:-1] + 1]) if len(stops) else stops, stops


class LineCount:
    """Counts the lines and records that begin in consecutive bytes.

    Attributes:
        num_lines: Lines that began.
        num_records: Those that are not blank; with a mark, those that begin with it.
    """

    def __init__(self, *, at_line_start: bool, mark: bytes = b"") -> None:
        self.num_lines = 0
        self.num_records = 0
        self._mark = mark
        self._at_line_start = at_line_start
        self._only_blanks = False

    @property
    def is_undecided(self) -> bool:
        """Whether the line under way has begun and holds blanks only so far."""
        return self._only_blanks

    def add(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        if not chunk:
            return
        if self._only_blanks:
            self.decide(chunk)
        values = np.frombuffer(chunk, np.uint8)
        starts = np.flatnonzero(values == _NEWLINE) + 1
        if self._at_line_start:
            starts = np.concatenate([[0], starts])
        self._at_line_start = chunk.endswith(b"\n")
        if self._at_line_start:
            starts = starts[:-1]
        self.num_lines += len(starts)
        if self._mark:
            self.num_records += int(np.count_nonzero(values[starts] == self._mark[0]))
            return
        unclear = starts[_IS_BLANK[values[starts]]]
        self.num_records += len(starts) - len(unclear)
        for start in unclear[values[unclear] != _NEWLINE].tolist():
            end = chunk.find(b"\n", start)
            if chunk[start : end if end >= 0 else len(chunk)].strip():
                self.num_records += 1
            elif end < 0:
                self._only_blanks = True

    def decide(self, chunk: bytes) -> None:
        """Look on for what the line under way holds, counting no others."""
        line, end, _ = chunk.partition(b"\n")
        if line.strip():
            self.num_records += 1
        self._only_blanks = not line.strip() and not end

    def break_off(self) -> None:
        """The bytes end in an error, which takes the place of the record under way, or is one."""
        is_under_way = not (self._at_line_start or self._only_blanks)
        if self._mark:
            is_under_way = self.num_records > 0
        self.num_records += not is_under_way
        self.num_lines += self._at_line_start
        self._at_line_start = self._only_blanks = False
