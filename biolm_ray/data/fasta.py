"""FASTA: records of a header line and sequence lines, with attributes in the header."""

import difflib
import re

import numpy as np
import pyarrow as pa

from biolm_ray.data.columns import Layout, Row, RowProblem, kind_of, read_fields, shown
from biolm_ray.data.lines import BLANKS, Spans, Text, line_bounds
from biolm_ray.data.rows import make_block

RECORD_MARK = b">"
_ATTRIBUTE = re.compile(r'(?<!\S)([^\s="]+)=(?:"([^"]*)"|(\S*))')


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
    usual = np.ones(len(raws), bool)
    if not text.isascii():
        usual[:] = [raw.isascii() for raw in raws]

    def read_row(index: int) -> tuple[Row, str]:
        return read_record(raws[index], layout), raws[index].decode(errors="replace")

    rows = first_row + np.arange(len(raws))
    return make_block(fields, usual, read_row, layout, rows, first_line + spans.lines)


def read_record(raw: Text, layout: Layout) -> Row:
    """Read one record; what is wrong with it is told in `problem`, never raised."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x} on line {line} of the record is not UTF-8"
        return _problem("utf-8", f"{found}: save the file as UTF-8")
    record = split_record(raw)
    if not record["id"]:
        return _problem("id", "the record has no id after '>'")
    name = f"record {shown(record['id'])}"
    if not record["sequence"]:
        return _problem("sequence", f"{name} has no sequence")
    for role, position in layout.used.items():
        attribute = layout.names[position]
        if attribute not in record:
            found = _what_there_is(attribute, list(record)[2:])
            wanted = f"attribute '{attribute}', asked for as {kind_of(role)}"
            return _problem("columns", f"{name} has no {wanted}; {found}")
    return read_fields({role: record[layout.names[at]] for role, at in layout.used.items()}, layout)


def split_record(raw: Text, with_attributes: bool = True) -> dict[str, str]:
    """The id, the sequence and then the attributes of a record, by name; of two alike the first."""
    header, _, lines = raw.partition(b"\n")
    words = header[len(RECORD_MARK) :].decode(errors="replace").split(None, 1)
    record = {
        "id": words[0] if words else "",
        "sequence": lines.translate(None, BLANKS).decode(errors="replace"),
    }
    if with_attributes and len(words) == 2 and "=" in words[1]:
        for name, quoted, plain in _ATTRIBUTE.findall(words[1]):
            record.setdefault(name, (quoted or plain).strip())
    return record


def _what_there_is(attribute: str, attributes: list[str]) -> str:
    if not attributes:
        return "its header line has no attributes (name=value)"
    near = difflib.get_close_matches(attribute, attributes, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"its attributes are {', '.join(attributes)}{hint}"


def _problem(rule: str, message: str) -> Row:
    return Row(problem=RowProblem(rule, message))
