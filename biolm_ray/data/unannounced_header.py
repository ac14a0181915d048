"""Whether the first line of a table names its columns, though the settings say it is a row.

No row of data may be taken for a header, so that each sign needs more than a word that could be a
sequence: the letters of proteins spell words too.
"""

import re
from collections.abc import Sequence

from biolm_ray.config.schema import MISSING_VALUES
from biolm_ray.data.columns import SHOWN_LETTERS, Layout, read_number, shown
from biolm_ray.data.targets import parse_weight

NUM_LINES = 20
"""Lines that are looked at, the first one included."""

SEQUENCE_NAME = re.compile(
    r"((m?rna|c?dna|protein|peptide|transcript|aa|nt|utr)_)?seq(uence)?s?|m?rna|c?dna|proteins?|"
    r"peptides?|nucleotides|transcript|[35]?utr[35]?|cds|orf|promoter|text|input|tokens"
)
OTHER_NAME = re.compile(
    r"((gene|transcript|seq|sequence|protein)_)?(ids?|names?)|identifier|accession|entry|gene|"
    r"labels?|class(es)?|targets?|y|category|type|locali[sz]ation|location|value|score|half_?life|"
    r"splits?|set|fold|cluster|partition|subset|group|weights?|quality"
)
_AMBIGUITY_CODES = frozenset("acgtunrykmswbdhv")
_NAME = re.compile(r"[^\W\d]\w*([ .-]\w+)*")
_MANY_LETTERS = 200
_MANY_ROWS = 4


def header_sign(
    layout: Layout,
    first: Sequence[str],
    below: Sequence[Sequence[str]],
    token_separator: str | None = None,
) -> str | None:
    """Say why the first line looks like a header; None if it may be a row.

    Args:
        layout: Of the columns.
        first: The stripped fields of the first line; all columns that are used are there.
        below: The fields of lines after it.
        token_separator: Between the tokens of a sequence.
    """
    columns = [[row[at] for row in below if at < len(row)] for at in range(len(first))]
    position = _above_numbers(layout, first, columns)
    if position is not None:
        where = f"column {position + 1}, where the next line has a number"
        return f"{shown(first[position])} in {where}"
    position = layout.sequence
    cell, sequences = first[position], columns[position]
    is_foreign = _is_foreign(cell, sequences, token_separator)
    is_named = SEQUENCE_NAME.fullmatch(_plain(cell)) is not None
    others = [
        shown(name)
        for at, name in enumerate(first)
        if at != position and OTHER_NAME.fullmatch(_plain(name)) and name not in columns[at]
    ]
    if others and is_named:
        return f"columns called {shown(cell)} and {others[0]}"
    if len(others) > 1 and is_foreign:
        return f"columns called {others[0]} and {others[1]}"
    num_letters = sum(map(len, sequences))
    if is_named and is_foreign and (not cell.isupper() or num_letters >= _MANY_LETTERS):
        return f"{shown(cell)} in column {position + 1}, where the next lines have sequences"
    has_many = num_letters >= _MANY_LETTERS and len(sequences) >= _MANY_ROWS
    if has_many and _is_a_word(cell, sequences, token_separator):
        return f"{shown(cell)} in column {position + 1}, unlike the sequences below"
    return None


def _above_numbers(
    layout: Layout, first: Sequence[str], columns: Sequence[Sequence[str]]
) -> int | None:
    """The position of a word above a number, in a column of numbers."""
    for position in layout.labels if layout.label_kind == "number" else ():
        word, below = first[position], columns[position][:1]
        if below and _number(below[0]) is not None and _is_no_number(word):
            return position
    if layout.weight is not None and columns[layout.weight]:
        word, below = first[layout.weight], columns[layout.weight][0]
        if parse_weight(below) is not None and parse_weight(word) is None and _is_no_number(word):
            return layout.weight
    return None


def _is_no_number(word: str) -> bool:
    missing = {value.lower() for value in MISSING_VALUES} | {"", "inf", "-inf"}
    return _number(word) is None and word.lower() not in missing


def _number(text: str) -> float | None:
    """A number, with a point or a comma."""
    return read_number(text.replace(",", "."))


def _plain(cell: str) -> str:
    """A name without what headers of different programs put around it."""
    return re.sub(r"[\W_]+", "_", cell.casefold()).strip("_")


def _is_foreign(cell: str, sequences: Sequence[str], token_separator: str | None) -> bool:
    """Whether something of a cell occurs in none of the sequences."""
    if not sequences:
        return False
    if token_separator:
        found = {token.strip() for text in sequences for token in text.split(token_separator)}
        return any(token.strip() not in found for token in cell.split(token_separator))
    return not set(cell) <= set("".join(sequences))


def _is_a_word(cell: str, sequences: Sequence[str], token_separator: str | None) -> bool:
    """Whether a cell is a word where there are many sequences, by its letters or its separators.

    Words all in capitals may be peptides; letters that stand for several bases may be rare.
    """
    if len(cell) > SHOWN_LETTERS or cell.isupper() or not _NAME.fullmatch(cell):
        return False
    if token_separator:
        divided = token_separator in cell or not all(token_separator in text for text in sequences)
        return not divided and _is_foreign(cell, sequences, token_separator)
    letters = set(cell.casefold())
    foreign = letters - set("".join(sequences).casefold())
    return len(foreign - _AMBIGUITY_CODES) >= 2 and 2 * len(foreign) >= len(letters) > 3
