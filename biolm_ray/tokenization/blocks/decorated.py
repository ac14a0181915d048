"""Blocks of tokens that carry floats, such as `a#2.5#0.2`: what `split_specifiers` does, at once.

A field is a token's name or one of its values, so that a block has few different ones.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, UInt8

from biolm_ray.tokenization.atomic import finite_number, replaced
from biolm_ray.tokenization.blocks import rows
from biolm_ray.tokenization.blocks.codebook import Codebook
from biolm_ray.tokenization.blocks.joined_rows import (
    LONG,
    ROW_END,
    separator_byte,
    specifier_byte,
    windows,
)
from biolm_ray.tokenization.blocks.spans import between
from biolm_ray.tokenization.settings import TokenizerSettings


@dataclass(frozen=True)
class Decorated:
    """The tokens of a block without their floats, and the floats beside them.

    Attributes:
        codes: Of the tokens, int32.
        offsets: Where rows begin and end.
        texts: By code.
        specifiers: None when no channels are expected and none were found.
        odd: Rows that have a problem; they have no tokens.
    """

    codes: Int[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " rows+1"]
    texts: list[str]
    specifiers: Float[np.ndarray, "tokens channels"] | None
    odd: Bool[np.ndarray, " rows"]


@dataclass(frozen=True)
class _Fields:
    """Names and values in order of the text, and the positions of misplaced separators."""

    codes: Int[np.ndarray, " fields"]
    is_value: Bool[np.ndarray, " fields"]
    offsets: Int[np.ndarray, " rows+1"]
    odd: Bool[np.ndarray, " rows"]


def read_decorated(
    texts: pa.Array, settings: TokenizerSettings, num_expected: int | None
) -> Decorated:
    """Read a block as far as specifiers and replacements, all but the markers.

    Args:
        texts: Strings without nulls.
        settings: With separators that no blank begins or ends.
        num_expected: Most values of a token; None takes the most there are.
    """
    book = Codebook(str)
    fields = _only(_read_fields(texts, settings, book), None)
    numbers = np.array([finite_number(text) for text in book.texts])
    fields = _only(fields, _with_problem(fields, book.texts, numbers, num_expected))
    names = np.flatnonzero(~fields.is_value)
    num_values = np.diff(names, append=len(fields.codes)) - 1
    offsets = np.searchsorted(names, fields.offsets)
    num_channels = num_expected if num_expected is not None else num_values.max(initial=0)
    specifiers = None
    if num_channels:
        specifiers = np.zeros((len(names), num_channels), dtype=np.float32)
        values = np.flatnonzero(fields.is_value)
        tokens = np.repeat(np.arange(len(names)), num_values)
        specifiers[tokens, values - names[tokens] - 1] = numbers[fields.codes[values]]
    tokens = Codebook(str)
    meanings = [replaced(text, settings) for text in book.texts]
    table = np.array([tokens.code(text) if text else -1 for text in meanings], dtype=np.int32)
    codes = table[fields.codes[names]]
    kept = codes >= 0
    if not kept.all():
        codes, offsets = codes[kept], rows.without(offsets, kept)
        specifiers = None if specifiers is None else specifiers[kept]
    return Decorated(codes, offsets, tokens.texts, specifiers, fields.odd)


def _read_fields(texts: pa.Array, settings: TokenizerSettings, book: Codebook) -> _Fields:
    separator, specifier = separator_byte(settings), specifier_byte(settings)
    assert specifier is not None
    codes, is_value, ends = [], [], []
    odd = np.zeros(len(texts), dtype=bool)
    num_fields = num_rows = 0
    for window in windows(texts, settings):
        inside = _between_bytes(np.frombuffer(window, np.uint8), separator, specifier)
        packed, span_codes = book.read_fields(window, between(inside))
        packed = np.concatenate([[separator], packed, [separator]]).astype(np.uint8)
        inside = _between_bytes(packed, separator, specifier)
        places, row_ends = np.flatnonzero(inside), np.flatnonzero(packed == ROW_END)
        found = packed[places].astype(np.int32)
        found[found == LONG] = span_codes
        codes.append(found)
        is_value.append(packed[places - 1] == specifier)
        ends.append(np.searchsorted(places, row_ends) + num_fields)
        marks = np.flatnonzero(packed == specifier)
        misplaced = marks[~(inside[marks - 1] & inside[marks + 1])]
        odd[num_rows + np.searchsorted(row_ends, misplaced)] = True
        num_fields += len(found)
        num_rows += len(row_ends)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), *ends])
    if not codes:
        return _Fields(np.empty(0, dtype=np.int32), np.empty(0, dtype=bool), offsets, odd)
    return _Fields(np.concatenate(codes), np.concatenate(is_value), offsets, odd)


def _between_bytes(
    window: UInt8[np.ndarray, " bytes"], separator: int, specifier: int
) -> Bool[np.ndarray, " bytes"]:
    return (window != separator) & (window != specifier) & (window != ROW_END)


def _with_problem(
    fields: _Fields,
    texts: list[str],
    numbers: Float[np.ndarray, " texts"],
    num_expected: int | None,
) -> Bool[np.ndarray, " rows"]:
    """Rows with a value that is no number, too many values, or a value without name."""
    names = np.flatnonzero(~fields.is_value)
    num_values = np.diff(names, append=len(fields.codes)) - 1
    decorated = names[num_values > 0]
    counts = num_values[num_values > 0]
    too_many = np.zeros(len(counts), dtype=bool) if num_expected is None else counts > num_expected
    is_blank = np.array([not text.strip() for text in texts])
    wrong = decorated[too_many | is_blank[fields.codes[decorated]]]
    no_number = np.isnan(numbers)[fields.codes] & fields.is_value
    bad = np.concatenate([wrong, np.flatnonzero(no_number)])
    has_problem = np.zeros(len(fields.odd), dtype=bool)
    has_problem[rows.rows_of(bad, fields.offsets)] = True
    return has_problem


def _only(fields: _Fields, more: Bool[np.ndarray, " rows"] | None) -> _Fields:
    """The fields without those of rows that have a problem."""
    odd = fields.odd if more is None else fields.odd | more
    if not odd.any():
        return fields
    starts, stops = fields.offsets[:-1], fields.offsets[1:]
    kept = rows.within(np.where(odd, stops, starts), stops, len(fields.codes))
    offsets = rows.without(fields.offsets, kept)
    return _Fields(fields.codes[kept], fields.is_value[kept], offsets, odd)
