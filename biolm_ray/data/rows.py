"""Blocks of rows: columns of text turned into checked values, the unusual rows one by one."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from biolm_ray.data.columns import GAPS, LabelKind, Layout, kind_of, label_roles, read_number
from biolm_ray.data.fields import Row, RowProblem
from biolm_ray.data.targets import LARGEST_FLOAT32, parse_weight

PROBLEM_FIELDS = (
    pa.field("rule", pa.string()),
    pa.field("problem", pa.string()),
    pa.field("raw", pa.large_string()),
)

RowReader: TypeAlias = Callable[[int], tuple[Row, str]]
"""Reads one row of a block by the rules for single rows; also gives its text."""


def rows_schema(label_kind: LabelKind | None, roles: Mapping[str, int]) -> pa.Schema:
    """The columns of blocks of rows; labels, weight and split only if they are asked for."""
    label_type = pa.float64() if label_kind == "number" else pa.string()
    types = {"label": label_type, "weight": pa.float64(), "split": pa.string()}
    return pa.schema(
        [
            pa.field("row", pa.int64()),
            pa.field("line", pa.int64()),
            pa.field("id", pa.string()),
            pa.field("sequence", pa.large_string()),
            *[pa.field(role, types[kind_of(role)]) for role in roles if kind_of(role) in types],
            *PROBLEM_FIELDS,
        ]
    )


def make_block(
    fields: Mapping[str, pa.Array],
    usual: Bool[np.ndarray, " rows"],
    read_row: RowReader,
    layout: Layout,
    rows: Int[np.ndarray, " rows"],
    lines: Int[np.ndarray, " rows"],
) -> pa.Table:
    """Turn fields into a block; the result is that of `read_row` on every row.

    Args:
        fields: By role, for every row: trimmed text, or numbers; empty or null where there is
            nothing.
        usual: Whether the fields of a row are right as they are; the others are read singly, as
            is every row with an empty field, one that is no number where there should be one, or
            a sequence beyond ASCII.
        rows: Numbers of the rows in the whole input.
        lines: Numbers of their lines in the file.
    """
    schema = rows_schema(layout.label_kind, layout.used)
    good = usual.copy()
    columns: dict[str, pa.Array] = {"row": pa.array(rows), "line": pa.array(lines)}
    for role, field in fields.items():
        is_label = kind_of(role) == "label"
        if role == "weight" or (is_label and layout.label_kind == "number"):
            if layout.decimal != ".":
                field, has_point = _with_point(field, layout.decimal)
                good &= ~has_point
            numbers = _numbers(field, good, read_number if is_label else parse_weight)
            good &= (np.abs(numbers) <= LARGEST_FLOAT32) & ((numbers >= 0) | is_label)
            good &= ~np.isin(numbers, layout.missing_numbers)
            columns[role] = pa.array(numbers)
        else:
            if role == "sequence" and layout.remove_gaps:
                field = _without_gaps(field)
            lengths = pc.call_function("binary_length", [field]).fill_null(0)
            good &= lengths.to_numpy(zero_copy_only=False) > 0
            is_plain = _is_ascii if role == "sequence" else _is_printable
            good &= is_plain(field)
            if role not in ("id", "sequence"):
                missing = pc.call_function(
                    "is_in",
                    [field],
                    pc.SetLookupOptions(pa.array(layout.missing_values, field.type)),
                )
                good &= ~missing.to_numpy(zero_copy_only=False)
            columns[role] = field.cast(schema.field(role).type)
    missing = {name: pa.nulls(len(rows), schema.field(name).type) for name in schema.names}
    block = pa.table({**missing, **columns}, schema=schema)
    if good.all():
        return block
    unusual = np.flatnonzero(~good)
    records = [
        _record(*read_row(index), int(rows[index]), int(lines[index])) for index in unusual.tolist()
    ]
    singly = pa.Table.from_pylist(records, schema=schema)
    if len(singly) == len(block):
        return singly
    order = np.argsort(np.concatenate([np.flatnonzero(good), unusual]))
    parts = pa.concat_tables([block.filter(pa.array(good)), singly])
    return parts.take(pa.array(order)).combine_chunks()


def broken_block(problem: RowProblem, layout: Layout, row: int, line: int) -> pa.Table:
    """A block of one row that could not even be read."""
    schema = rows_schema(layout.label_kind, layout.used)
    return pa.Table.from_pylist([_record(Row(problem=problem), "", row, line)], schema=schema)


def _record(read: Row, raw: str, row: int, line: int) -> dict:
    record = {**read._asdict(), "row": row, "line": line}
    record |= zip(label_roles(1 + len(read.more_labels))[1:], read.more_labels, strict=True)
    if read.problem:
        record |= {"rule": read.problem.rule, "problem": read.problem.message, "raw": raw}
    return record


def _without_gaps(sequences: pa.Array) -> pa.Array:
    options = pc.ReplaceSubstringOptions(f"[{GAPS}]+", "")  # - stands first, so that it is itself
    return pc.call_function("replace_substring_regex", [sequences], options)


def _with_point(field: pa.Array, decimal: str) -> tuple[pa.Array, Bool[np.ndarray, " rows"]]:
    """Numbers with a decimal point, and whether they had one in place of the right sign."""
    pattern = pc.MatchSubstringOptions(".")
    has_point = pc.call_function("match_substring", [field], pattern).fill_null(False)
    options = pc.ReplaceSubstringOptions(decimal, ".")
    numbers = pc.call_function("replace_substring", [field], options)
    return numbers, has_point.to_numpy(zero_copy_only=False)


def _is_ascii(field: pa.Array) -> Bool[np.ndarray, " rows"]:
    found = pc.call_function("string_is_ascii", [field]).fill_null(False)
    return found.to_numpy(zero_copy_only=False)


def _is_printable(field: pa.Array) -> Bool[np.ndarray, " rows"]:
    found = pc.call_function("utf8_is_printable", [field]).fill_null(False)
    return found.to_numpy(zero_copy_only=False)


def _numbers(
    field: pa.Array, wanted: Bool[np.ndarray, " rows"], parse: Callable[[str], float | None]
) -> Float[np.ndarray, " rows"]:
    """The numbers of a field; NaN for texts that `parse` refuses and for rows not wanted."""
    numbers = np.full(len(field), np.nan)
    texts = field if wanted.all() else field.filter(pa.array(wanted))
    try:
        numbers[wanted] = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        encoded = texts.dictionary_encode()
        parsed = (parse(text or "") for text in encoded.dictionary.to_pylist())
        values = np.array([np.nan if value is None else value for value in parsed])
        numbers[wanted] = values[encoded.indices.to_numpy()]
    return numbers
