"""The texts of a block as one run of bytes, cut into windows that can be read alone.

Valid UTF-8 never holds the bytes 0xF5 to 0xFF, so they are free to mark places in a text.
"""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biolm_ray.tokenization.atomic import longest_first, placeholder
from biolm_ray.tokenization.settings import TokenizerSettings

ROW_END, TOKEN_END, SPECIFIER, DROPPED, LONG = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB
"""End of a row; separators of several bytes; bytes to take out; the place of a longer token."""

FIRST_RESERVED = 0xF5
NO_TEXT = FIRST_RESERVED - 256
"""As signed numbers, the bytes of characters beyond ASCII lie below it, all others do not."""

WINDOW = 1 << 19
"""Bytes of a window: few enough for a processor's cache."""

ASCII_BLANKS = b"\t\n\v\f\r\x1c\x1d\x1e\x1f "
OTHER_BLANKS = (
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""With the ASCII ones, all that `str.split` and `str.strip` take for white space."""


def separator_byte(settings: TokenizerSettings) -> int:
    """The byte that stands between tokens in a window."""
    return _mark(settings.token_separator or "", TOKEN_END)


def specifier_byte(settings: TokenizerSettings) -> int | None:
    """The byte between a token and its floats in a window; None when texts can hold none."""
    specifier = settings.specifier_separator
    if not specifier or (settings.token_separator or "") in specifier:
        return None  # a specifier separator around a token separator is cut in two
    return _mark(specifier, SPECIFIER)


def windows(texts: pa.Array, settings: TokenizerSettings) -> Iterator[bytearray]:
    """Cut the joined rows into pieces that no token straddles.

    Every row is followed by ROW_END; quotes are gone, and separators of several bytes are one
    (`separator_byte`, `specifier_byte`). Without a separator, white space is gone,
    replacements are made and letters mapped.

    Args:
        texts: Strings without nulls; a slice will do.
        settings: How they are read.
    """
    cut = _cut(settings)
    for group in _groups(texts):
        joined, start = _join(group), 0
        while start <= len(joined):
            place = cut.search(joined, start + WINDOW)
            stop = place.start() if place else len(joined)
            window = bytearray(joined[start:stop])
            if place is None:
                window.append(ROW_END)
                stop += 1
            yield _plain(window, settings)
            start = stop


def _groups(texts: pa.Array) -> Iterator[pa.Array]:
    """Slices of rows that fit in a window, or of one row that does not."""
    lengths = pc.call_function("binary_length", [texts]).to_numpy()
    ends = np.cumsum(lengths, dtype=np.int64)
    first = 0
    while first < len(texts):
        done = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, done + WINDOW)), first + 1)
        yield texts[first:last]
        first = last


def _join(texts: pa.Array) -> memoryview:
    rows = texts.cast(pa.large_binary())
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)
    row_end = pa.scalar(bytes([ROW_END]), pa.large_binary())
    return memoryview(pc.call_function("binary_join", [whole, row_end])[0].as_buffer())


def _mark(separator: str, stand_in: int) -> int:
    encoded = separator.encode()
    return encoded[0] if len(encoded) == 1 else stand_in


def _cut(settings: TokenizerSettings) -> re.Pattern[bytes]:
    """What a window may begin with."""
    separator = settings.token_separator
    if separator and separator_byte(settings) != TOKEN_END and separator != '"':
        return re.compile(b"[\xff" + re.escape(separator.encode()) + b"]")
    if not separator and all(len(old) == 1 for old in settings.replacements):
        return re.compile(rb"[^\x80-\xbf]")
    return re.compile(b"\xff")


def _plain(window: bytearray, settings: TokenizerSettings) -> bytearray:
    if not settings.token_separator:
        return _replaced(window, settings)
    if b'"' in window:
        window = window.translate(None, b'"')
    if separator_byte(settings) == TOKEN_END:
        window = window.replace(settings.token_separator.encode(), bytes([TOKEN_END]))
    if specifier_byte(settings) == SPECIFIER:
        assert settings.specifier_separator
        window = window.replace(settings.specifier_separator.encode(), bytes([SPECIFIER]))
    return window


def _replaced(window: bytearray, settings: TokenizerSettings) -> bytearray:
    """Do to joined rows what `split_text` does to one without a separator."""
    pairs = [
        (old.encode(), placeholder(index).encode(), new.encode())
        for index, (old, new) in enumerate(longest_first(settings.replacements))
    ]
    table = bytearray(range(256))
    for old, new in settings.letter_mapping.items():
        table[old] = ord(new)
    ascii_only = not (np.frombuffer(window, np.int8) < NO_TEXT).any()
    if ascii_only and all((old + new).isascii() for old, _, new in pairs):
        # Nothing can be taken for a stand-in, so single letters change places at once.
        for old, _, new in pairs:
            if len(old) == len(new) == 1:
                table[old[0]] = new[0]
        pairs = [pair for pair in pairs if len(pair[0]) > 1 or len(pair[2]) != 1]
    blanks = ASCII_BLANKS + b'"'
    if not pairs and ascii_only:
        return window.translate(table, blanks)
    window = window.translate(None, blanks)
    for blank in () if ascii_only else map(str.encode, OTHER_BLANKS):
        if blank[0] in window:
            window = window.replace(blank, b"")
    for old, stand_in, _ in pairs:
        window = window.replace(old, stand_in)
    window = window.translate(table)
    for _, stand_in, new in pairs:
        window = window.replace(stand_in, new)
    return window
