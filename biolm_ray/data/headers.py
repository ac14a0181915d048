"""The first lines of text files, which tell their columns."""

from collections.abc import Callable
from typing import NamedTuple

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.columns import (
    UNCLOSED_QUOTE,
    LabelKind,
    Layout,
    make_layout,
    read_number,
    shown,
    split_fields,
)
from biolm_ray.data.fasta import RECORD_MARK, is_comment, split_record
from biolm_ray.data.filesystems import access_errors
from biolm_ray.data.lines import BYTE_ORDER_MARK
from biolm_ray.data.sources import SourceFile
from biolm_ray.data.table import decode
from biolm_ray.errors import DataError


class _Line(NamedTuple):
    """A line that is not blank: its number, and its text or why it has none."""

    number: int
    text: str
    problem: str | None = None


class _Fields(NamedTuple):
    number: int
    fields: list[str]


def table_layout(file: SourceFile, config: DataConfig, label_kind: LabelKind | None) -> Layout:
    """Find the columns of delimited text.

    Raises:
        ConfigError: A column is named though the file has no header, or none is set.
        DataError: The file is empty, no text, lacks a column, or its first line is a header that
            `has_header` does not tell of.
    """
    lines = _first_lines(file, 3)
    separator = config.column_separator or _detect_separator(file, lines[0].text)
    rows = _split_lines(file, lines[:1] if config.has_header else lines, separator)
    if config.has_header and len(lines) == 1:
        raise DataError(f"{file.name} has a header and no rows")
    layout = make_layout(
        config,
        label_kind=label_kind,
        header=rows[0].fields if config.has_header else None,
        num_columns=len(rows[0].fields),
        where=f"{file.name}, line {rows[0].number}",
        separator=separator,
    )
    if not config.has_header:
        _refuse_header(file, layout, rows)
    return layout


def fasta_layout(file: SourceFile, config: DataConfig, label_kind: LabelKind | None) -> Layout:
    """Find the columns of FASTA: id, sequence, and the attributes of the first record.

    Raises:
        DataError: The file is empty, or other text comes before its first record.
    """
    (line,) = _first_lines(file, 1, is_comment)
    if line.problem or not line.text.startswith(RECORD_MARK.decode()):
        found = line.problem or f"{shown(line.text.strip())} stands before the first record"
        raise DataError(f"{file.name}, line {line.number}: {found}; FASTA begins with '>'")
    names = tuple(split_record(line.text.encode()))
    return make_layout(
        config,
        label_kind=label_kind,
        header=names,
        num_columns=len(names),
        where=f"{file.name}, line {line.number}",
        format="fasta",
    )


def _first_lines(
    file: SourceFile, num_lines: int, is_comment: Callable[[bytes], bool] | None = None
) -> list[_Line]:
    """Lines that are neither blank nor comments: at least one; fewer at the end of the file."""
    found: list[_Line] = []
    number = 0
    try:
        with file.open_text() as lines:
            for number, raw in enumerate(lines, 1):
                raw = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
                if not raw.strip() or (is_comment and is_comment(raw)):
                    continue
                text = decode(raw.removesuffix(b"\n").removesuffix(b"\r"))
                is_text = isinstance(text, str)
                found.append(_Line(number, text) if is_text else _Line(number, "", text.message))
                if len(found) == num_lines:
                    break
    except access_errors(file.path) as error:
        found.append(_Line(number + 1, "", f"the file cannot be read further: {error}"))
    if not found:
        comments = " and comments" if is_comment else ""
        raise DataError(f"{file.name} is empty: it has blank lines{comments} only")
    return found


def _split_lines(file: SourceFile, lines: list[_Line], separator: str) -> list[_Fields]:
    """Split the lines into stripped fields, without those that have a problem.

    Raises:
        DataError: They all have one.
    """
    split = [(line, split_fields(line.text, separator)) for line in lines if not line.problem]
    rows = [
        _Fields(line.number, [field.strip() for field in fields])
        for line, fields in split
        if fields is not None
    ]
    if not rows:
        message = lines[0].problem or UNCLOSED_QUOTE
        raise DataError(f"{file.name}, line {lines[0].number}: {message}")
    return rows


def _detect_separator(file: SourceFile, first_line: str) -> str:
    """A tab if the first line has one; a comma for a file named .csv."""
    name = file.name.lower()
    if file.compression is not None and not name.endswith(".csv"):
        name = name.rpartition(".")[0]
    return "," if name.endswith(".csv") and "\t" not in first_line else "\t"


def _refuse_header(file: SourceFile, layout: Layout, rows: list[_Fields]) -> None:
    if layout.label_kind != "number" or len(rows) < 2:
        return
    (number, first), (_, second) = rows[:2]
    for position in layout.labels:
        label, below = first[position], second[position : position + 1]
        if not below or read_number(below[0]) is None or read_number(label) is not None:
            continue
        if label and label.lower() not in ("nan", "inf", "-inf", "na"):
            raise DataError(
                f"{file.name}, line {number}: looks like a header ({shown(label)} in column "
                f"{position + 1}, where the next line has a number): "
                "set has_header: true (stripheader)"
            )
