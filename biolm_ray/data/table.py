"""Delimited text: a block of whole lines becomes a block of rows, without a loop over them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int, UInt8

from biolm_ray.data.columns import Layout, not_utf8
from biolm_ray.data.fields import Row, RowProblem, read_line
from biolm_ray.data.lines import Spans, Text
from biolm_ray.data.rows import make_block

MAX_BLANKS_AT_EDGE = 8
_QUOTE = ord('"')
_LAST_ASCII = 127
_IS_SPACE = np.array([chr(code).isspace() and code < 128 for code in range(256)])


def read_lines(
    text: Text, spans: Spans, layout: Layout, first_row: int, first_line: int
) -> pa.Table:
    """Read lines into a block of rows, as `fields.read_line` reads each of them.

    Lines with anything unusual are left to it: too few columns, quotes within a field, bytes that
    are not UTF-8, many blanks around a field, a separator of several characters; also too many
    columns, and a sequence that is a column's name.
    """
    fields: dict[str, pa.Array] = {}
    usual = _valid_lines(text, spans, layout.separator)
    if usual.any():
        fields, usual = _split(text, spans, layout, usual)
        usual &= ~_may_be_header(fields["sequence"], layout)

    def read_row(index: int) -> tuple[Row, str]:
        raw = text[spans.starts[index] : spans.stops[index]]
        return _read_raw(raw, layout), raw.decode(errors="replace")

    rows = first_row + np.arange(len(spans.starts))
    return make_block(fields, usual, read_row, layout, rows, first_line + spans.lines)


def decode(raw: Text) -> str | RowProblem:
    """A line's text, or what is wrong with it."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"at position {error.start + 1} of the line"
        return RowProblem("utf-8", not_utf8(raw[error.start], where))


def _read_raw(raw: Text, layout: Layout) -> Row:
    line = decode(raw)
    return read_line(line, layout) if isinstance(line, str) else Row(problem=line)


def _valid_lines(text: Text, spans: Spans, separator: str) -> Bool[np.ndarray, " rows"]:
    """Lines that are surely UTF-8; none if the separator is not one ASCII character."""
    if len(separator) != 1 or not separator.isascii() or separator in '\r\n"':
        return np.zeros(len(spans.starts), bool)
    valid = np.ones(len(spans.starts), bool)
    if not text.isascii() and isinstance(decode(text), RowProblem):
        letters = np.flatnonzero(np.frombuffer(text, np.uint8) > _LAST_ASCII)
        owners = np.searchsorted(spans.starts, letters, side="right") - 1
        valid[owners[owners >= 0]] = False
    return valid


def _split(
    text: Text, spans: Spans, layout: Layout, usual: Bool[np.ndarray, " rows"]
) -> tuple[dict[str, pa.Array], Bool[np.ndarray, " rows"]]:
    """The trimmed field of each role, and which lines have them all."""
    values = np.frombuffer(text, np.uint8)
    separators = np.flatnonzero(values == ord(layout.separator))
    has_quotes = b'"' in text
    if has_quotes:
        separators, is_simple = _outside_quotes(values, separators, spans, ord(layout.separator))
        usual = usual & is_simple
    first = np.searchsorted(separators, spans.starts)
    num_separators = np.searchsorted(separators, spans.stops) - first
    usual = usual & (num_separators >= max(layout.used.values()))
    if layout.num_columns is not None:
        usual &= num_separators < layout.num_columns
    separators = np.append(separators, len(text))
    last = len(separators) - 1
    fields = {}
    for role, position in layout.used.items():
        starts, stops = spans.starts, spans.stops
        if position:
            starts = separators[np.minimum(first + position - 1, last)] + 1
        at_separator = separators[np.minimum(first + position, last)]
        stops = np.where(num_separators > position, at_separator, stops)
        starts, stops = np.where(usual, [starts, stops], spans.starts)
        if has_quotes:
            is_quoted = (starts < stops) & (values[np.minimum(starts, len(values) - 1)] == _QUOTE)
            starts, stops = starts + is_quoted, stops - is_quoted
        starts, stops, is_trimmed = _trim(values, starts, stops)
        usual &= is_trimmed
        fields[role] = _gather(text, starts, stops)
    return fields, usual


def _may_be_header(sequences: pa.Array, layout: Layout) -> Bool[np.ndarray, " rows"]:
    """Whether a sequence is the name of a column, as where the header stands once more."""
    found = np.zeros(len(sequences), bool)
    lengths = pc.call_function("binary_length", [sequences]).to_numpy()
    longest = max((len(name.encode()) for name in layout.header), default=-1)
    short = np.flatnonzero(lengths <= longest)
    if len(short):
        texts = sequences.take(pa.array(short)).to_pylist()
        found[short] = [text in layout.header for text in texts]
    return found


def _outside_quotes(
    values: UInt8[np.ndarray, " bytes"],
    separators: Int[np.ndarray, " separators"],
    spans: Spans,
    separator: int,
) -> tuple[Int[np.ndarray, " kept"], Bool[np.ndarray, " rows"]]:
    """The separators outside quotes, and the lines that have quotes around whole fields only."""
    quotes = np.flatnonzero(values == _QUOTE)
    quotes = quotes[(quotes >= spans.starts[0]) & (quotes < spans.stops[-1])]
    first = np.searchsorted(quotes, spans.starts)
    counts = np.searchsorted(quotes, spans.stops) - first
    owners = np.repeat(np.arange(len(counts)), counts)
    opens = (np.arange(len(quotes)) - first[owners]) % 2 == 0
    begins_field = (quotes == spans.starts[owners]) | (values[quotes - 1] == separator)
    after = np.minimum(quotes + 1, len(values) - 1)
    ends_field = (quotes + 1 == spans.stops[owners]) | (values[after] == separator)
    is_simple = counts % 2 == 0
    is_simple[owners[~np.where(opens, begins_field, ends_field)]] = False
    lines = np.searchsorted(spans.starts, separators, side="right") - 1
    num_before = np.searchsorted(quotes, separators) - first[lines]
    return separators[num_before % 2 == 0], is_simple


def _trim(
    values: UInt8[np.ndarray, " bytes"],
    starts: Int[np.ndarray, " rows"],
    stops: Int[np.ndarray, " rows"],
) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """Move both ends past blanks, and tell which fields surely have no more of them there."""
    last = len(values) - 1
    is_trimmed = np.zeros(len(starts), bool)
    for _ in range(MAX_BLANKS_AT_EDGE):
        is_empty = starts >= stops
        heads, tails = values[np.minimum(starts, last)], values[np.maximum(stops - 1, 0)]
        leading, trailing = _IS_SPACE[heads] & ~is_empty, _IS_SPACE[tails] & ~is_empty
        starts = starts + leading
        stops = np.maximum(stops - trailing, starts)
        is_trimmed = is_empty | (np.maximum(heads, tails) <= _LAST_ASCII)
        if not (leading.any() or trailing.any()):
            break
        is_trimmed &= ~(leading | trailing)
    return starts, stops, is_trimmed


def _gather(
    text: Text, starts: Int[np.ndarray, " rows"], stops: Int[np.ndarray, " rows"]
) -> pa.Array:
    """The pieces of the text between starts and stops, which are in order, copied once."""
    offsets = np.stack([starts, stops], axis=1).ravel().astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    pieces = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
    return pieces.take(pa.array(np.arange(0, len(offsets), 2)))
