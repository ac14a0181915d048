"""JSON lines: an object on each line, whose keys are the columns."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from biolm_ray.data.columns import Layout, kind_of
from biolm_ray.data.fields import Row, RowProblem, read_fields
from biolm_ray.data.lines import Spans, Text
from biolm_ray.data.rows import make_block
from biolm_ray.data.table import decode

ENDINGS = (".jsonl", ".ndjson")
_OBJECT = 'an object such as {"id": "g1", "sequence": "acgu"}'


def looks_like_json_lines(head: bytes, name: str) -> bool:
    """Whether a text is JSON lines, by its first line; by the file's name if that is no JSON.

    An object of nothing but lists and objects on a single line is a whole table in JSON, as
    pandas writes one.

    Args:
        head: The first bytes of the text; the first line may be longer.
        name: Of the file.
    """
    first, end, rest = head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    is_named = any(part in name.lower() for part in ENDINGS)
    if not first.startswith(b"{"):
        return is_named and first.startswith(b"[")
    if not end and not first.rstrip().endswith(b"}"):  # longer than the head
        return is_named or first[1:].lstrip().startswith(b'"')
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return is_named and first.strip() not in (b"{", b"[")
    is_table = not rest.strip() and all(isinstance(value, dict | list) for value in record.values())
    return is_named or not is_table


def read_json_lines(
    text: Text, spans: Spans, layout: Layout, first_row: int, first_line: int
) -> pa.Table:
    """Read lines into a block of rows, each as `read_json_line` reads it."""
    raws = [
        text[start:stop]
        for start, stop in zip(spans.starts.tolist(), spans.stops.tolist(), strict=True)
    ]
    records = [parse_line(raw) for raw in raws]
    read = [_fields(record, layout) if isinstance(record, dict) else record for record in records]
    usual = np.array([isinstance(fields, dict) for fields in read], bool)
    fields = {
        role: pa.array(
            [found[role].strip() if isinstance(found, dict) else "" for found in read],
            pa.large_string(),
        )
        for role in layout.used
    }

    def read_row(index: int) -> tuple[Row, str]:
        return read_json_line(raws[index], layout), raws[index].decode(errors="replace")

    rows = first_row + np.arange(len(raws))
    return make_block(fields, usual, read_row, layout, rows, first_line + spans.lines)


def read_json_line(raw: Text, layout: Layout) -> Row:
    """Read one line; what is wrong with it is returned in `problem`, never raised."""
    record = parse_line(raw)
    fields = _fields(record, layout) if isinstance(record, dict) else record
    return Row(problem=fields) if isinstance(fields, RowProblem) else read_fields(fields, layout)


def parse_line(raw: Text) -> dict[str, Any] | RowProblem:
    """Return the values of a line by their keys, numbers as they are written; or the problem."""
    line = decode(raw)
    if isinstance(line, RowProblem):
        return line
    try:
        record = json.loads(
            line,
            object_pairs_hook=_object,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
        )
    except json.JSONDecodeError as error:
        return RowProblem("json", f"is damaged JSON at position {error.pos + 1}: {error.msg}")
    except _RepeatedKey as error:
        return RowProblem("json", f"holds the key '{error}' twice")
    except RecursionError:
        return RowProblem("json", "is JSON that is nested too deeply")
    if not isinstance(record, dict):
        return RowProblem("json", f"is {_name_of(record)}, not {_OBJECT}")
    return record


def keys_of(records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the keys of the first line in their order, then those that only later ones have."""
    return tuple(dict.fromkeys(key for record in records for key in record))


class _RepeatedKey(ValueError):
    """A key that an object holds twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKey(next(key for key in keys if keys.count(key) > 1))
    return record


def _fields(record: Mapping[str, Any], layout: Layout) -> dict[str, str] | RowProblem:
    """Return the text of each role; of a key that is missing, as of null, the empty text."""
    fields: dict[str, str] = {}
    for role, position in layout.used.items():
        key = layout.names[position]
        value = record.get(key)
        if isinstance(value, dict | list):
            wanted = f"asked for as {kind_of(role)}: it must hold text or a number"
            return RowProblem("json", f"key '{key}' holds {_name_of(value)}, {wanted}")
        text = str(_TEXTS.get(value, value))
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            return RowProblem(
                "utf-8", f"key '{key}' holds half of a character (\\ud800 to \\udfff)"
            )
        fields[role] = text
    return fields


_TEXTS = {None: "", True: "true", False: "false"}


def _name_of(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a text or a number")
