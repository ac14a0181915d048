"""The first lines of text files, which tell their columns."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.columns import (
    ROW_NAMES,
    SEPARATOR_NAMES,
    UNCLOSED_QUOTE,
    LabelKind,
    Layout,
    in_yaml,
    make_layout,
    shown,
    split_fields,
)
from biolm_ray.data.fasta import RECORD_MARK, is_comment, split_record
from biolm_ray.data.fields import RowProblem
from biolm_ray.data.filesystems import access_errors
from biolm_ray.data.json_lines import keys_of, parse_line
from biolm_ray.data.lines import BYTE_ORDER_MARK
from biolm_ray.data.sources import SourceFile
from biolm_ray.data.table import decode
from biolm_ray.data.unannounced_header import NUM_LINES, header_sign
from biolm_ray.errors import DataError
from biolm_ray.wording import counted

NUM_TITLES = 5
"""Lines that may stand above a header as a title, for a hint."""


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
    lines = _first_lines(file, NUM_LINES, num_above=config.skip_lines)
    num_above = sum(line.number <= config.skip_lines for line in lines)
    lines = lines[num_above:]
    separator = config.column_separator or _detect_separator(file, lines[0].text)
    rows = _split_lines(file, lines[:1] if config.has_header else lines, separator)
    if config.has_header and len(lines) == 1:
        raise DataError(f"{file.name} has a header and no rows")
    header = rows[0].fields if config.has_header else None
    if header and len(header) > 1 and _widths(lines[1:], separator) == {len(header) + 1}:
        header = [ROW_NAMES, *header]
    layout = make_layout(
        config,
        label_kind=label_kind,
        header=header,
        num_columns=len(header or rows[0].fields),
        where=f"{file.name}, line {rows[0].number}",
        separator=separator,
        num_above=num_above,
        hint=_hint(file, lines, config),
    )
    if not config.has_header:
        layout = replace(layout, num_columns=max(len(row.fields) for row in rows))
        first, *below = (row.fields for row in rows)
        sign = header_sign(layout, first, below, config.token_separator)
        if sign:
            raise DataError(
                f"{file.name}, line {rows[0].number}: looks like a header ({sign}): "
                "set data.has_header: true (stripheader)"
            )
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


def json_layout(file: SourceFile, config: DataConfig, label_kind: LabelKind | None) -> Layout:
    """Find the columns of JSON lines: the keys of the first lines that can be read.

    Raises:
        ConfigError: No sequence column is set.
        DataError: The file is empty, none of its first lines is a JSON object, or they lack a key.
    """
    lines = _first_lines(file, NUM_LINES)
    parsed = [parse_line(line.text.encode()) for line in lines if not line.problem]
    records = [record for record in parsed if isinstance(record, dict)]
    if not records:
        problem = next((found.message for found in parsed if isinstance(found, RowProblem)), "")
        raise DataError(f"{file.name}, line {lines[0].number}: {lines[0].problem or problem}")
    names = keys_of(records)
    return make_layout(
        config,
        label_kind=label_kind,
        header=names,
        num_columns=len(names),
        where=f"{file.name}, line {lines[0].number}",
        format="jsonl",
    )


def _first_lines(
    file: SourceFile,
    num_lines: int,
    is_comment: Callable[[bytes], bool] | None = None,
    num_above: int = 0,
) -> list[_Line]:
    """Lines that are neither blank nor comments: at least one; fewer at the end of the file.

    Those among the first `num_above` lines come too, and do not count.
    """
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
                num_lines -= number > num_above
                if not num_lines:
                    break
    except access_errors(file.path) as error:
        found.append(_Line(number + 1, "", f"the file cannot be read further: {error}"))
    if not found:
        comments = " and comments" if is_comment else ""
        raise DataError(f"{file.name} is empty: it has blank lines{comments} only")
    if found[-1].number <= num_above:
        raise DataError(f"{file.name}: nothing follows the {num_above} lines of data.skip_lines")
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
        name = name.rpartition(".")[0]  # whatever it is: the content said that it is compressed
    return "," if name.endswith(".csv") and "\t" not in first_line else "\t"


def _widths(lines: Sequence[_Line], separator: str) -> set[int | None]:
    """How many columns lines have by a separator; None for one that cannot be split."""
    split = [None if line.problem else split_fields(line.text, separator) for line in lines]
    return {None if fields is None else len(fields) for fields in split}


def _hint(file: SourceFile, lines: Sequence[_Line], config: DataConfig) -> str:
    """What would make a table of the first lines: another separator, or a title to skip."""
    gaps = {len(gap) for line in lines for gap in re.findall(r"(?<=\S) +(?=\S)", line.text)}
    marks = [mark for mark in SEPARATOR_NAMES if mark != " "]
    marks += [" " * gap for gap in gaps if len(gaps) == 1]
    for index, line in enumerate(lines[: NUM_TITLES + 1]):
        detected = config.column_separator or _detect_separator(file, line.text)
        for mark in dict.fromkeys((detected, *marks)):
            first, below = (
                _widths(lines[index : index + 1], mark),
                _widths(lines[index + 1 :], mark),
            )
            width = next(iter(below or first)) or 0
            if len(below) > 1 or width < 2 or not first <= {width, max(width - 1, 2)}:
                continue
            if index == 0 and mark == detected:
                return ""
            hint = f"; line {line.number} and those below have {counted(width, 'column')}"
            hint += f" separated by {_named(mark)}"
            wanted = [f"data.skip_lines: {line.number - 1}"] if index else []
            if mark != detected:
                wanted.append(f"data.column_separator: '{in_yaml(mark)}' (columnsep)")
            return f"{hint}: set {' and '.join(wanted)}"
    widths = {sum(map(bool, line.text.split(" "))) for line in lines}
    if len(gaps) > 1 and len(widths) == 1 and widths.pop() > 1:
        return (
            "; blanks, not always as many, stand between its columns: write a tab in their place, "
            f"as with: sed -E 's/ +/\\t/g' {file.name} > columns.tsv"
        )
    return ""


def _named(mark: str) -> str:
    if mark.strip(" ") or mark == " ":
        return f"a {SEPARATOR_NAMES.get(mark, repr(mark))}"
    return counted(len(mark), "blank")
