"""One row, read from its fields by the layout of the file."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from biolm_ray.data.columns import (
    BYTE_ORDER_MARK,
    GAPS,
    KINDS,
    POINT_RULE,
    SEPARATOR_NAMES,
    UNCLOSED_QUOTE,
    Layout,
    kind_of,
    label_roles,
    read_number,
    shown,
    split_fields,
    too_few,
)
from biolm_ray.data.targets import parse_weight, weight_rule
from biolm_ray.logs import has_control_characters
from biolm_ray.wording import counted

LEAVE_OUT = "leave such rows out with data.on_bad_rows: quarantine"
"""The remedy where a value is missing; see `without_remedy`."""
_REMEDY = re.compile(rf"(;|, or) {re.escape(LEAVE_OUT)}$")
_NO_GAPS = str.maketrans("", "", GAPS)


class RowProblem(NamedTuple):
    """Why a row cannot be used.

    Attributes:
        rule: The rule that is broken; rows that break the same one are counted together.
        message: What was found and what would be right, to be read after "file, line N: ".
    """

    rule: str
    message: str


class Row(NamedTuple):
    """The fields of one line; where `problem` is set, the others may be incomplete.

    Attributes:
        label: Of the first label column.
        more_labels: Of the other ones.
    """

    id: str = ""
    sequence: str = ""
    label: float | str | None = None
    weight: float | None = None
    split: str | None = None
    problem: RowProblem | None = None
    more_labels: tuple[float | str | None, ...] = ()


def read_line(line: str, layout: Layout) -> Row:
    """Read one line; what is wrong with it is told in `problem`, never raised."""
    fields = split_fields(line, layout.separator)
    if fields is None:
        return _problem("quotes", UNCLOSED_QUOTE)
    if is_header(fields, layout):
        return _problem("header", "is the header once more: remove it where tables were joined")
    for role, position in layout.used.items():
        if position >= len(fields):
            hint = _other_separator(line, layout)
            return _problem("columns", too_few(len(fields), position, kind_of(role)) + hint)
    if layout.num_columns is not None and "".join(fields[layout.num_columns :]).strip():
        return _problem("columns", _too_many(len(fields), layout))
    return read_fields({role: fields[at] for role, at in layout.used.items()}, layout)


def _other_separator(line: str, layout: Layout) -> str:
    """Name the separator that would give a line all the columns that are asked for."""
    wanted = max(layout.used.values()) + 1
    for mark, name in SEPARATOR_NAMES.items():
        found = split_fields(line, mark)
        if mark != layout.separator and found and len(found) >= wanted and mark != " ":
            return (
                f"; divided at each {name} it has {counted(len(found), 'column')}: write it with "
                "the separator of the other lines, or set data.column_separator (columnsep)"
            )
    return ""


def is_header(fields: Sequence[str], layout: Layout) -> bool:
    """Whether the fields of a line are the names of the columns, as in the header."""
    texts = [field.strip() for field in fields]
    texts[0] = texts[0].removeprefix(BYTE_ORDER_MARK)
    return tuple(texts) == layout.header


def _too_many(num_columns: int, layout: Layout) -> str:
    assert layout.num_columns is not None
    first = "the header has" if layout.header else "the first lines have"
    wanted = counted(layout.num_columns, "column")
    if len(layout.header) < len(layout.names):
        wanted += ", row names included"
    return (
        f"has {counted(num_columns, 'column')}, but {first} {wanted}: if a field holds the "
        "separator, put it in double quotes"
    )


def read_fields(fields: Mapping[str, str], layout: Layout) -> Row:
    """Read the text of each role's field; what is wrong is told in `problem`, never raised."""
    texts = {role: text.strip() for role, text in fields.items()}
    if layout.remove_gaps:
        texts["sequence"] = texts["sequence"].translate(_NO_GAPS)
    if layout.decimal != ".":
        for role in [role for role in texts if role in layout.number_roles]:
            if "." in texts[role]:
                found = f"{kind_of(role)} {shown(texts[role])} in {layout.place(role)}"
                return _problem(kind_of(role), f"{found} has a point; {POINT_RULE}")
            texts[role] = texts[role].replace(layout.decimal, ".")
    for role in sorted(texts, key=lambda role: KINDS.index(kind_of(role))):
        message = _what_is_wrong(role, texts, layout)
        if message:
            return _problem(kind_of(role), message)
    labels: list[float | str | None] = [texts[role] for role in label_roles(len(layout.labels))]
    if layout.label_kind == "number":
        labels = [read_number(text) for text in labels if isinstance(text, str)]
    weight = parse_weight(texts["weight"]) if "weight" in texts else None
    return Row(
        id=texts["id"],
        sequence=texts["sequence"],
        label=labels[0] if labels else None,
        weight=weight,
        split=texts.get("split"),
        more_labels=tuple(labels[1:]),
    )


def without_remedy(problem: str) -> str:
    """Say what is wrong with a row that is left out, without the advice to leave it out."""
    return _REMEDY.sub("", problem)


def _what_is_wrong(role: str, texts: Mapping[str, str], layout: Layout) -> str | None:
    text, kind = texts[role], kind_of(role)
    if kind == "label" and _is_gap(texts, role, layout):
        return (
            f"the label in {layout.place(role)} is missing where the row has others; gaps in "
            "several targets cannot be learnt: train one target at a time (labelpos), or "
            f"{LEAVE_OUT}"
        )
    where = f"{shown(text)} in {layout.place(role)}"
    if text and kind not in ("id", "sequence") and _is_missing(role, text, layout):
        return f"{kind} {where} stands for a missing value (data.missing_values); {LEAVE_OUT}"
    if role == "weight" and parse_weight(text) is None:
        return f"weight {where} is no {weight_rule()}"
    if not text:
        remedy = "" if kind in ("id", "sequence") else f"; {LEAVE_OUT}"
        return f"the {kind} in {layout.place(role)} is empty{remedy}"
    if kind == "label" and layout.label_kind == "number" and read_number(text) is None:
        comma = read_number(text.replace(",", ".")) is not None and layout.decimal == "."
        hint = ": is it a decimal comma? set data.decimal: ','" if comma else ""
        return f"label {where} is not a finite number{hint}"
    if kind != "sequence" and has_control_characters(text):
        if "\t" in text and layout.format == "table":
            return (
                f"{kind} {where} holds a tab: if tabs separate the columns, set "
                "data.column_separator: '\\t' (columnsep)"
            )
        return f"{kind} {where} holds a control character: remove it"
    if kind == "sequence" and (unseen := _unseen(text)):
        return f"{kind} {where} holds a character that is not seen, {unseen}: remove it"
    return None


def _unseen(text: str) -> str | None:
    """Name the first character that is not seen, but would make another token of one.

    Control characters of ASCII and blanks are left: they may separate tokens.
    """
    if text.isascii() or text.isprintable():
        return None
    found = (each for each in text if not each.isascii() and not each.isprintable())
    first = next(found, None)
    if first is None:
        return None
    return f"U+{ord(first):04X} ({unicodedata.name(first, 'without a name').lower()})"


def _is_missing(role: str, text: str, layout: Layout) -> bool:
    if not text or text in layout.missing_values:
        return True
    is_number = role == "weight" or (layout.label_kind == "number" and kind_of(role) == "label")
    return is_number and read_number(text) in layout.missing_numbers


def _is_gap(texts: Mapping[str, str], role: str, layout: Layout) -> bool:
    """Whether a label is missing in a row that has another one."""
    roles = label_roles(len(layout.labels))
    if len(roles) < 2 or not _is_missing(role, texts[role], layout):
        return False
    return any(
        read_number(texts[other]) is not None and not _is_missing(other, texts[other], layout)
        for other in roles
    )


def _problem(rule: str, message: str) -> Row:
    return Row(problem=RowProblem(rule, message))
