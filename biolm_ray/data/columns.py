"""What stands in the columns of a file: its layout."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from biolm_ray.config.schema import MISSING_VALUES, Column, DataConfig
from biolm_ray.config.spelling import did_you_mean
from biolm_ray.data.naming import alike_in_files, name_for_files, told_apart
from biolm_ray.data.targets import fits_float32
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.logs import escaped
from biolm_ray.wording import counted

LabelKind = Literal["number", "class"]
Format = Literal["table", "fasta", "jsonl", "parquet", "datasets"]
KINDS = ("sequence", "id", "label", "weight", "split")
"""What a column can hold, in the order in which the fields of a row are checked."""
SHOWN_LETTERS = 40
UNCLOSED_QUOTE = "a double quote opens a field and is not closed on the line"
GAPS = "-.*0123456789"
"""What alignments, translations and numbered files put between the letters of a sequence."""
SEPARATOR_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", " ": "blank", "|": "bar"}
ROW_NAMES = "row names"
"""What the first column is called where a header has one name too few, as R writes tables."""
BYTE_ORDER_MARK = "\ufeff"
TO_UTF8 = "save the file as UTF-8, as with 'iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE'"
POINT_RULE = "with data.decimal: ',' only a comma stands before the decimals"
_OF_WINDOW = re.compile(r"window\d+_")
_PLAIN_NAME = re.compile(r"[^\s,;'\"]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def label_roles(num_labels: int) -> tuple[str, ...]:
    """Name the roles of label columns, and with them the columns of blocks and prepared data."""
    return tuple("label" if place == 1 else f"label_{place}" for place in range(1, num_labels + 1))


def kind_of(role: str) -> str:
    """What the column of a role holds: "label" for the second label column too."""
    return role.partition("_")[0]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which field is which, by 0-based position; None for columns that are not asked for.

    Attributes:
        format: How the file is written.
        separator: Between the columns of a table; empty for the other formats.
        names: Names of all columns, where the file has them; of FASTA the id, the sequence and
            the attributes of the first record, of JSON lines the keys of the first lines.
        label: Several positions where there are several targets.
        num_columns: How many columns a row of a table may have; None for any number.
        num_above: Lines of a table above its header, or first row, that are not blank.
        decimal: The sign before the decimals of labels and weights.
        remove_gaps: Whether `GAPS` are taken out of sequences.
        missing_values: What stands for no label, weight or split; one that is a number stands for
            it however it is written.
    """

    format: Format = "table"
    separator: str = ""
    names: tuple[str, ...] = ()
    id: int
    sequence: int
    label: int | tuple[int, ...] | None = None
    weight: int | None = None
    split: int | None = None
    label_kind: LabelKind | None = None
    num_columns: int | None = None
    num_above: int = 0
    decimal: str = "."
    remove_gaps: bool = False
    missing_values: tuple[str, ...] = MISSING_VALUES

    @property
    def header(self) -> tuple[str, ...]:
        """The fields of the header line of a table; empty where it has none."""
        names = self.names if self.format == "table" else ()
        return names[1:] if names[:1] == (ROW_NAMES,) else names

    @property
    def labels(self) -> tuple[int, ...]:
        """The positions of the labels, also where there is just one, or none."""
        if self.label is None:
            return ()
        return self.label if isinstance(self.label, tuple) else (self.label,)

    @property
    def number_roles(self) -> set[str]:
        """The roles of columns that hold numbers."""
        labels = label_roles(len(self.labels)) if self.label_kind == "number" else ()
        return {"weight", *labels}

    @property
    def target_names(self) -> tuple[str, ...]:
        """What several targets are called in tables and files; empty where there is just one."""
        if len(self.labels) < 2:
            return ()
        named = [self.names[position] if self.names else "" for position in self.labels]
        names = [name_for_files(name) for name in named]
        places = [str(position + 1) for position in self.labels]
        names = [name or f"column_{place}" for name, place in zip(names, places, strict=True)]
        return tuple(told_apart(names, places) if need_places(names) else names)

    @property
    def label_name(self) -> str:
        """What a single label is called in headings: its column's name, or where it stands."""
        if len(self.labels) != 1:
            return ""
        name = self.names[self.labels[0]] if self.names else ""
        return name[:SHOWN_LETTERS] or f"label ({self.place('label')})"

    @property
    def used(self) -> dict[str, int]:
        """The position of each column that is read, by its role."""
        positions = {
            "id": self.id,
            "sequence": self.sequence,
            **dict(zip(label_roles(len(self.labels)), self.labels, strict=True)),
            "weight": self.weight,
            "split": self.split,
        }
        return {role: position for role, position in positions.items() if position is not None}

    @property
    def missing_numbers(self) -> list[float]:
        """The numbers that stand for a missing value."""
        return [number for text in self.missing_values if (number := read_number(text)) is not None]

    def place(self, role: str) -> str:
        """Where the field of a role stands, as messages say it."""
        position = self.used[role]
        if self.format == "table":
            name = self.names[position] if self.names else ""
            return f"column {position + 1}" + (f" ({shown(name)})" if name else "")
        what = {"fasta": "attribute", "jsonl": "key"}.get(self.format, "column")
        return f"{what} '{self.names[position]}'"


def need_places(names: Sequence[str]) -> bool:
    """Whether columns and files of several targets are alike unless their places are added."""
    taken = [*names, *(f"std_{name}" for name in names)]  # prediction_std_<name>
    # loo_scores_remove_window5_<name>
    taken += [_OF_WINDOW.sub("", name) for name in names if _OF_WINDOW.match(name)]
    return alike_in_files(taken)


def shown(text: str) -> str:
    """A text as messages quote it: at most 40 characters of it, control characters escaped."""
    rest = "..." if len(text) > SHOWN_LETTERS else ""
    return f"'{escaped(text[:SHOWN_LETTERS])}'{rest}"


def not_utf8(byte: int, where: str) -> str:
    """Say of a byte that it is not UTF-8, and what it would be in the usual code of Windows."""
    letter = bytes([byte]).decode("cp1252", "ignore")
    meant = f" ('{letter}' in Windows-1252)" if letter else ""
    return f"byte 0x{byte:02x} {where} is not UTF-8{meant}: {TO_UTF8}"


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
    separator: str = "\t",
    format: Format = "table",
    num_above: int = 0,
    hint: str = "",
) -> Layout:
    """Find the columns that the configuration names.

    Args:
        header: Column names, when the file has them.
        num_columns: Fields on the first line.
        where: File and line of it, for messages.
        separator: Between the columns of a table.
        format: A layout of FASTA finds attributes that the first record lacks beyond the others.
        num_above: Lines of a table above its header or first row.
        hint: What may be wrong where a column is not found, after a semicolon.

    Raises:
        ConfigError: A column is given by name though the file has no header, is not given, or
            holds two targets.
        DataError: The file does not have a column.
    """
    if label_kind and config.label_column is None:
        raise ConfigError("data.label_column is not set: which column holds the labels?")
    if config.sequence_column is None and format != "fasta":
        raise ConfigError("data.sequence_column is not set: which column holds the sequences?")
    labels = config.label_columns if label_kind else ()
    settings: dict[str, Column | None] = {
        "id": config.id_column,
        "sequence": config.sequence_column or Column(index=1),
        **dict(zip(label_roles(len(labels)), labels, strict=True)),
        "weight": config.weight_column if label_kind else None,
        "split": config.split_column,
    }
    names = list(header or ())
    if format == "fasta":
        asked = [column.name for column in settings.values() if column and column.name]
        names += [name for name in dict.fromkeys(asked) if name not in names]
    positions = {
        role: _find_column(
            column, kind_of(role), names if header else None, num_columns, where, hint
        )
        for role, column in settings.items()
        if column is not None
    }
    found = tuple(positions.pop(role) for role in label_roles(len(labels)))
    for place, position in enumerate(found):
        if position in found[:place]:
            raise ConfigError(f"data.label_column names {labels[place]} twice; each is one target")
    return Layout(
        format=format,
        separator=separator if format == "table" else "",
        names=tuple(names),
        label=found if len(found) > 1 else next(iter(found), None),
        label_kind=label_kind,
        num_columns=num_columns if format == "table" else None,
        num_above=num_above,
        decimal=config.decimal if format in ("table", "fasta") else ".",
        remove_gaps=config.remove_gaps,
        missing_values=config.missing_values,
        **positions,
    )


def _find_column(
    column: Column,
    role: str,
    header: Sequence[str] | None,
    num_columns: int,
    where: str,
    hint: str,
) -> int:
    if column.index is not None:
        if column.index >= num_columns:
            raise DataError(f"{where}: {too_few(num_columns, column.index, role)}{hint}")
        return column.index
    assert column.name is not None
    if header is None:
        raise ConfigError(
            f"data.{role}_column is the name '{column.name}', but data.has_header is false: "
            "set data.has_header: true (stripheader), or give the column's number"
        )
    if header.count(column.name) == 1:
        return header.index(column.name)
    if column.name in header:
        raise DataError(f"{where}: {header.count(column.name)} columns are named '{column.name}'")
    hint = did_you_mean(column.name, header) or hint
    raise DataError(
        f"{where}: no column is named '{column.name}', asked for as {role}; {_listed(header)}{hint}"
    )


def _listed(header: Sequence[str]) -> str:
    """Name the columns; in quotes where it would not be clear where a name begins and ends."""
    is_plain = all(_PLAIN_NAME.fullmatch(name) for name in header)
    names = header if is_plain else [shown(name) for name in header]
    return f"the {'columns are' if len(names) > 1 else 'only column is'} {', '.join(names)}"


def in_yaml(separator: str) -> str:
    """A separator as it is written between quotes in a configuration file."""
    return "\\t" if separator == "\t" else separator


def too_few(num_columns: int, position: int, role: str) -> str:
    return f"has {counted(num_columns, 'column')}, column {position + 1} asked for as {role}"


def read_number(text: str) -> float | None:
    """A decimal number that float32, the type of models, can hold; or None."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if fits_float32(value) else None
