"""FASTA: records of a header line and sequence lines, with attributes in the header."""

import re

import numpy as np
import pyarrow as pa

from biolm_ray.config.spelling import did_you_mean
from biolm_ray.data.columns import Layout, kind_of, not_utf8, shown
from biolm_ray.data.fields import Row, RowProblem, read_fields
from biolm_ray.data.lines import BLANKS, Spans, Text, line_bounds
from biolm_ray.data.rows import make_block

RECORD_MARK = b">"
COMMENT_MARK = b";"
_ATTRIBUTE = re.compile(
    r"(?<!\S)(?:"
    r'\[([^\s="\[\]]+)=((?:[^\[\]]|\[[^\[\]]*\])*)\]'  # [name=value], with [..] inside the value
    r'|([^\s="]+)=(?:"([^"]*)")?'  # name="value", or the start of name=value
    r"|([A-Za-z_][\w.-]*):(?=[^\s/])"  # the start of name:value; not http://
    r")"
)
_NUMBERS = re.compile(r"[+-]?\.?\d[\d.,eE+-]*")  # also 3,1 and 12-300 and 12..300


def find_records(text: Text) -> Spans:
    """The records of a block; lines before the first one are counted but belong to none."""
    starts, _ = line_bounds(text)
    values = np.frombuffer(text, np.uint8)
    lines = np.flatnonzero(values[starts] == RECORD_MARK[0])
    bounds = np.append(starts[lines], len(text))
    return Spans(bounds[:-1], bounds[1:], lines, len(starts))


def read_records(
    text: Text, spans: Spans, layout: Layout, first_row: int, first_line: int
) -> pa.Table:
    """Read records into a block of rows, each as `read_record` reads it."""
    raws = [
        text[start:stop]
        for start, stop in zip(spans.starts.tolist(), spans.stops.tolist(), strict=True)
    ]
    with_attributes = max(layout.used.values()) > 1
    records = [split_record(raw, with_attributes) for raw in raws]
    fields = {
        role: pa.array(
            [record.get(layout.names[position], "") for record in records], pa.large_string()
        )
        for role, position in layout.used.items()
    }
    usual = np.array([RECORD_MARK.decode() not in record["sequence"] for record in records], bool)
    if not text.isascii():
        usual &= [raw.isascii() for raw in raws]
    lines = first_line + spans.lines

    def read_row(index: int) -> tuple[Row, str]:
        row = read_record(raws[index], layout, int(lines[index]))
        return row, raws[index].decode(errors="replace")

    rows = first_row + np.arange(len(raws))
    return make_block(fields, usual, read_row, layout, rows, lines)


def read_record(raw: Text, layout: Layout, line: int) -> Row:
    """Read one record; what is wrong with it is told in `problem`, never raised.

    Args:
        raw: The record, with its header line.
        layout: The columns asked for.
        line: The number of its header line in the file.
    """
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        inner = raw.count(b"\n", 0, error.start) + 1
        return _problem("utf-8", not_utf8(raw[error.start], f"on line {inner} of the record"))
    record = split_record(raw)
    if not record["id"]:
        return _problem("id", "the record has no id after '>'")
    name = f"record {shown(record['id'])}"
    if not record["sequence"]:
        return _problem("sequence", f"{name} has no sequence")
    if RECORD_MARK.decode() in record["sequence"]:
        return _problem("record", f"{name} has {_where_joined(raw, line)}")
    for role, position in layout.used.items():
        attribute = layout.names[position]
        if attribute not in record:
            found = _what_there_is(attribute, list(record)[2:])
            wanted = f"attribute '{attribute}', asked for as {kind_of(role)}"
            return _problem("columns", f"{name} has no {wanted}; {found}")
    return read_fields({role: record[layout.names[at]] for role, at in layout.used.items()}, layout)


def split_record(raw: Text, with_attributes: bool = True) -> dict[str, str]:
    """The id, the sequence and then the attributes of a record, by name."""
    header, _, lines = raw.partition(b"\n")
    words = header[len(RECORD_MARK) :].decode(errors="replace").split(None, 1)
    if COMMENT_MARK in lines:
        lines = b"\n".join(line for line in lines.split(b"\n") if not is_comment(line))
    record = {
        "id": words[0] if words else "",
        "sequence": lines.translate(None, BLANKS).decode(errors="replace"),
    }
    if with_attributes and len(words) == 2:
        for name, value in read_attributes(words[1]).items():
            record.setdefault(name, value)
    return record


def is_comment(line: Text) -> bool:
    """Whether a line belongs to no record."""
    return line.startswith(COMMENT_MARK)


def read_attributes(text: str) -> dict[str, str]:
    """The attributes of a header line: name=value, [name=value], then name:value.

    A value is what stands in quotes or brackets; else it runs to the next attribute or the end of
    the line, and without a last `;` or `|`, but a number, or a range such as 12-300, ends at the
    blank behind it. Of two alike the first counts.
    """
    found = list(_ATTRIBUTE.finditer(text))
    stops = [*(match.start() for match in found[1:]), len(text)]
    attributes: dict[str, str] = {}
    with_colon: dict[str, str] = {}
    for match, stop in zip(found, stops, strict=False):
        bracketed, in_brackets, name, in_quotes, before_colon = match.groups()
        value = in_brackets if bracketed else in_quotes
        if value is None:
            value = _unquoted(text[match.end() : stop])
        if before_colon:
            with_colon.setdefault(before_colon, value)
        else:
            attributes.setdefault(name or bracketed, value.strip())
    for name, value in with_colon.items():
        attributes.setdefault(name, value)
    return attributes


def _unquoted(text: str) -> str:
    text = text.strip()
    words = text.split(None, 1)
    if len(words) == 2:
        first = words[0].rstrip(";|")
        if _NUMBERS.fullmatch(first):
            return first
    return text.rstrip("; |\t")


def _where_joined(raw: Text, line: int) -> str:
    """Say where the sequence lines of a record hold the mark of another one."""
    lines = raw.split(b"\n")
    inner = next(
        index
        for index, text in enumerate(lines)
        if index and RECORD_MARK in text and not is_comment(text)
    )
    found = lines[inner][lines[inner].index(RECORD_MARK) :].decode().strip()
    return (
        f"{shown(found)} inside its sequence, on line {line + inner}: were two files joined "
        "without a line end? A record must begin on a line of its own"
    )


def _what_there_is(attribute: str, attributes: list[str]) -> str:
    if not attributes:
        return "its header line has no attributes (name=value or name:value)"
    hint = did_you_mean(attribute, attributes)
    return f"its attributes are {', '.join(attributes)}{hint}"


def _problem(rule: str, message: str) -> Row:
    return Row(problem=RowProblem(rule, message))
