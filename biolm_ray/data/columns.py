"""What stands in the columns of a line: the layout of a file, and one line read by it."""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from biolm_ray.config.schema import Column, DataConfig
from biolm_ray.data.targets import parse_weight, weight_rule
from biolm_ray.errors import ConfigError, DataError

LabelKind = Literal["number", "class"]
SHOWN_LETTERS = 40
UNCLOSED_QUOTE = "a double quote opens a field and is not closed on the line"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class RowProblem(NamedTuple):
    """Why a row cannot be used.

    Attributes:
        rule: The rule that is broken; rows that break the same one are counted together.
        message: What was found and what would be right, to be read after "file, line N: ".
    """

    rule: str
    message: str


class Row(NamedTuple):
    """The fields of one line; where `problem` is set, the others may be incomplete."""

    id: str = ""
    sequence: str = ""
    label: float | str | None = None
    weight: float | None = None
    split: str | None = None
    problem: RowProblem | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which field is which, by 0-based position; None for columns the file does not have."""

    separator: str
    id: int
    sequence: int
    label: int | None = None
    weight: int | None = None
    split: int | None = None
    label_kind: LabelKind | None = None

    @property
    def used(self) -> dict[str, int]:
        """The position of each column that is read, by its role."""
        roles = ("id", "sequence", "label", "weight", "split")
        return {role: getattr(self, role) for role in roles if getattr(self, role) is not None}


def shown(text: str) -> str:
    """A text as messages quote it: at most 40 characters of it."""
    return f"'{text}'" if len(text) <= SHOWN_LETTERS else f"'{text[:SHOWN_LETTERS]}'..."


def split_fields(line: str, separator: str) -> list[str] | None:
    """Split a line at its separators; those inside double quotes do not count.

    A field is quoted when its first character (after spaces) is a double quote; "" inside it
    stands for one.

    Returns:
        The fields, quotes removed; None when a quote is not closed on the line.
    """
    if '"' not in line:
        return line.split(separator)
    fields: list[str] = []
    position = 0
    while True:
        first = position
        while line[first : first + 1] == " " and not line.startswith(separator, first):
            first += 1
        if line[first : first + 1] == '"':
            close = _closing_quote(line, first + 1)
            if close < 0:
                return None
            field, after = line[first + 1 : close].replace('""', '"'), close + 1
        else:
            field, after = "", position
        end = line.find(separator, after)
        fields.append(field + line[after : end if end >= 0 else len(line)])
        if end < 0:
            return fields
        position = end + len(separator)


def _closing_quote(line: str, start: int) -> int:
    close = line.find('"', start)
    while close >= 0 and line.startswith('""', close):
        close = line.find('"', close + 2)
    return close


def make_layout(
    config: DataConfig,
    *,
    label_kind: LabelKind | None,
    header: Sequence[str] | None,
    num_columns: int,
    where: str,
) -> Layout:
    """Find the columns that the configuration names.

    Args:
        header: Column names, when the file has them.
        num_columns: Fields on the first line.
        where: File and line of it, for messages.

    Raises:
        ConfigError: A column is given by name though the file has no header.
        DataError: The file does not have a column.
    """
    settings: dict[str, Column | None] = {
        "id": config.id_column,
        "sequence": config.sequence_column,
        "label": config.label_column if label_kind else None,
        "weight": config.weight_column if label_kind else None,
        "split": config.split_column,
    }
    if label_kind and config.label_column is None:
        raise ConfigError("data.label_column is not set: which column holds the labels?")
    positions = {
        role: _find_column(column, role, header, num_columns, where)
        for role, column in settings.items()
        if column is not None
    }
    return Layout(
        separator=config.column_separator,
        label_kind=label_kind,
        **positions,
    )


def _find_column(
    column: Column, role: str, header: Sequence[str] | None, num_columns: int, where: str
) -> int:
    if column.index is not None:
        if column.index >= num_columns:
            raise DataError(f"{where}: {_too_few(num_columns, column.index, role)}")
        return column.index
    assert column.name is not None
    if header is None:
        raise ConfigError(
            f"data.{role}_column is the name '{column.name}', but data.has_header is false: "
            "set has_header: true (stripheader), or give the column's number"
        )
    if header.count(column.name) == 1:
        return header.index(column.name)
    if column.name in header:
        raise DataError(f"{where}: {header.count(column.name)} columns are named '{column.name}'")
    near = difflib.get_close_matches(column.name, header, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise DataError(
        f"{where}: no column is named '{column.name}', asked for as {role}; "
        f"the columns are {', '.join(header)}{hint}"
    )


def _too_few(num_columns: int, position: int, role: str) -> str:
    columns = "1 column" if num_columns == 1 else f"{num_columns} columns"
    return f"has {columns}, column {position + 1} asked for as {role}"


def read_number(text: str) -> float | None:
    """A finite decimal number, or None."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def read_line(line: str, layout: Layout) -> Row:
    """Read one line; what is wrong with it is told in `problem`, never raised."""
    fields = split_fields(line, layout.separator)
    if fields is None:
        return _problem("quotes", UNCLOSED_QUOTE)
    for role, position in layout.used.items():
        if position >= len(fields):
            return _problem("columns", _too_few(len(fields), position, role))
    row = Row(id=fields[layout.id].strip(), sequence=fields[layout.sequence].strip())
    if not row.sequence:
        return _problem("sequence", f"the sequence in column {layout.sequence + 1} is empty")
    if not row.id:
        return _problem("id", f"the id in column {layout.id + 1} is empty")
    if layout.label is not None:
        label = _read_label(fields[layout.label].strip(), layout)
        if isinstance(label, RowProblem):
            return Row(problem=label)
        row = row._replace(label=label)
    if layout.weight is not None:
        weight = parse_weight(fields[layout.weight])
        if weight is None:
            text = shown(fields[layout.weight].strip())
            column = layout.weight + 1
            return _problem("weight", f"weight {text} in column {column} is no {weight_rule()}")
        row = row._replace(weight=weight)
    if layout.split is not None:
        split = fields[layout.split].strip()
        if not split:
            return _problem("split", f"the split in column {layout.split + 1} is empty")
        row = row._replace(split=split)
    return row


def _read_label(text: str, layout: Layout) -> float | str | RowProblem:
    assert layout.label is not None
    where = f"label {shown(text)} in column {layout.label + 1}"
    if not text:
        return RowProblem("label", f"the label in column {layout.label + 1} is empty")
    if layout.label_kind == "class":
        return text
    value = read_number(text)
    if value is None:
        return RowProblem("label", f"{where} is not a finite number")
    return value


def _problem(rule: str, message: str) -> Row:
    return Row(problem=RowProblem(rule, message))
