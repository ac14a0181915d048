"""Whole blocks from raw text to tokens: what `read_tokens` does to one sequence, at once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from biolm_ray.errors import DataError
from biolm_ray.tokenization.atomic import read_tokens, replaced
from biolm_ray.tokenization.blocks import rows
from biolm_ray.tokenization.blocks.codebook import Codebook
from biolm_ray.tokenization.blocks.decorated import read_decorated
from biolm_ray.tokenization.blocks.joined_rows import (
    ROW_END,
    separator_byte,
    specifier_byte,
    windows,
)
from biolm_ray.tokenization.blocks.spans import between, characters
from biolm_ray.tokenization.markers import CDS_END, MARKERS
from biolm_ray.tokenization.settings import TokenizerSettings

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class TokenCodes:
    """The tokens of a block's rows before any vocabulary, joined.

    Attributes:
        codes: Of the tokens, uint8 or int32; those below 128 are ASCII characters.
        offsets: Row r is `codes[offsets[r]:offsets[r + 1]]`.
        texts: The text of each code.
        specifiers: The floats of decorated tokens, 0 where absent; None without channels.
        problems: Why a row cannot be used, by row; such rows have no tokens.
    """

    codes: Int[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " rows+1"]
    texts: list[str]
    specifiers: Float[np.ndarray, "tokens channels"] | None = None
    problems: dict[int, str] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        return len(self.offsets) - 1

    def count_codes(self) -> Int[np.ndarray, " codes"]:
        """How often each code occurs in the block."""
        counts = np.zeros(len(self.texts), dtype=np.int64)
        for start in range(0, len(self.codes), _AT_ONCE):
            part = self.codes[start : start + _AT_ONCE]
            counts += np.bincount(part, minlength=len(counts))
        return counts

    def count(self) -> Counter[str]:
        """How often each token occurs in the block."""
        counts = self.count_codes()
        tokens: Counter[str] = Counter()
        for code in np.flatnonzero(counts):
            tokens[self.texts[code]] += int(counts[code])
        return tokens

    def keep(self, kept: Bool[np.ndarray, " tokens"]) -> "TokenCodes":
        """Only some of the tokens."""
        return replace(
            self,
            codes=self.codes[kept],
            offsets=rows.without(self.offsets, kept),
            specifiers=None if self.specifiers is None else self.specifiers[kept],
        )


def read_codes(
    texts: pa.Array, settings: TokenizerSettings, num_specifiers: int | None = None
) -> TokenCodes:
    """Read the sequences of a block, each exactly as `read_tokens` reads it.

    Memory is a few times that of the texts.

    Args:
        texts: As they stand in the sequence column; strings without nulls, a slice will do.
        settings: How to read them.
        num_specifiers: Most values of a token; None while fitting, when the most that there are
            decide.
    """
    tokens, odd = _read(texts, settings, num_specifiers)
    if tokens.specifiers is None and num_specifiers:
        zeros = np.zeros((len(tokens.codes), num_specifiers), dtype=np.float32)
        tokens = replace(tokens, specifiers=zeros)
    odd |= tokens.offsets[1:] == tokens.offsets[:-1]
    if settings.region != "whole" or settings.drop_markers:
        tokens, odd = _apply_markers(tokens, settings, odd)
    if not odd.any():
        return tokens
    starts, stops = tokens.offsets[:-1], tokens.offsets[1:]
    if (starts[odd] < stops[odd]).any():
        good = np.where(odd, stops, starts)
        tokens = tokens.keep(rows.within(good, stops, len(tokens.codes)))
    problems = {
        int(row): _problem(texts[row].as_py(), settings, num_specifiers)
        for row in np.flatnonzero(odd)
    }
    return replace(tokens, problems=problems)


def _read(
    texts: pa.Array, settings: TokenizerSettings, num_specifiers: int | None
) -> tuple[TokenCodes, Bool[np.ndarray, " rows"]]:
    """The tokens before markers act, and the rows whose specifiers have a problem."""
    specifier = settings.specifier_separator
    if specifier is None or specifier_byte(settings) is None:
        return _read_plain(texts, settings), np.zeros(len(texts), dtype=bool)
    if specifier != specifier.strip():  # blanks at the ends of a token eat into its separators
        return _read_one_by_one(texts, settings, num_specifiers)
    fields = read_decorated(texts, settings, num_specifiers)
    tokens = TokenCodes(fields.codes, fields.offsets, fields.texts, fields.specifiers)
    return tokens, fields.odd


def _read_plain(texts: pa.Array, settings: TokenizerSettings) -> TokenCodes:
    changes = settings.replacements or settings.letter_mapping
    meaning = partial(replaced, settings=settings) if changes else str.strip
    book = Codebook(meaning if settings.token_separator else str)
    parts: list[Int[np.ndarray, " tokens"]] = []
    ends: list[Int[np.ndarray, " rows"]] = []
    num_tokens = 0
    for codes in _coded_windows(texts, settings, book):
        row_end = ROW_END if codes.dtype == np.uint8 else -1
        row_ends = np.flatnonzero(codes == row_end)
        ends.append(row_ends - np.arange(len(row_ends)) + num_tokens)
        if not len(row_ends):
            parts.append(codes)
        elif codes.dtype == np.uint8:
            bare = codes.tobytes().replace(bytes([ROW_END]), b"")
            parts.append(np.frombuffer(bare, np.uint8))
        else:
            parts.append(codes[codes != row_end])
        num_tokens += len(parts[-1])
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), *ends])
    joined = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint8)
    return TokenCodes(joined, offsets, book.texts)


def _coded_windows(
    texts: pa.Array, settings: TokenizerSettings, book: Codebook
) -> Iterator[Int[np.ndarray, " codes"]]:
    separator = separator_byte(settings)
    for window in windows(texts, settings):
        view = np.frombuffer(window, np.uint8)
        if settings.token_separator:
            spans = between((view != separator) & (view != ROW_END))
        else:
            spans = characters(view)
            if not len(spans.starts):
                yield view  # ASCII characters are codes as they are
                continue
        del view  # or the window could not be lengthened
        yield book.read(window, spans, bytes([separator]) if settings.token_separator else b"")


def _read_one_by_one(
    texts: pa.Array, settings: TokenizerSettings, num_specifiers: int | None
) -> tuple[TokenCodes, Bool[np.ndarray, " rows"]]:
    whole = settings.model_copy(update={"region": "whole", "drop_markers": False})
    book = Codebook(str)
    odd = np.zeros(len(texts), dtype=bool)
    codes: list[list[int]] = [[]] * len(texts)
    specifiers: list[Float[np.ndarray, "length channels"]] = []
    for row, text in enumerate(texts.to_pylist()):
        try:
            read = read_tokens(text, whole, num_specifiers)
        except DataError:
            odd[row] = True
            continue
        codes[row] = [book.code(token) for token in read.tokens]
        channels = read.specifiers
        specifiers.append(np.zeros((len(read.tokens), 0)) if channels is None else channels)
    offsets = rows.joined_offsets([len(row) for row in codes])
    joined = np.fromiter((code for row in codes for code in row), np.int32, offsets[-1])
    return TokenCodes(joined, offsets, book.texts, _joined_channels(specifiers)), odd


def _joined_channels(
    parts: list[Float[np.ndarray, "length channels"]],
) -> Float[np.ndarray, "tokens channels"] | None:
    num_channels = max((part.shape[1] for part in parts), default=0)
    if not num_channels:
        return None
    wide = [np.pad(part, ((0, 0), (0, num_channels - part.shape[1]))) for part in parts]
    return np.concatenate(wide).astype(np.float32)


def _apply_markers(
    tokens: TokenCodes, settings: TokenizerSettings, odd: Bool[np.ndarray, " rows"]
) -> tuple[TokenCodes, Bool[np.ndarray, " rows"]]:
    """Do what `kept_positions` does, and mark the rows where it finds a problem."""
    kept = np.ones(len(tokens.codes), dtype=bool)
    if settings.region != "whole":
        starts, stops = tokens.offsets[:-1], tokens.offsets[1:]
        ends = rows.first_in_rows(rows.positions_of(tokens.codes, ord(CDS_END)), tokens.offsets)
        ends = np.where(ends < 0, stops, ends)
        is_utr3 = settings.region == "utr3"
        bounds = (np.minimum(ends + 1, stops), stops) if is_utr3 else (starts, ends)
        kept = rows.within(*bounds, len(kept))
    if settings.drop_markers:
        for marker in MARKERS:
            kept &= tokens.codes != ord(marker)
    tokens = tokens.keep(kept)
    return tokens, odd | (tokens.offsets[1:] == tokens.offsets[:-1])


def _problem(text: str, settings: TokenizerSettings, num_specifiers: int | None) -> str:
    try:
        read_tokens(text, settings, num_specifiers)
    except DataError as error:
        return str(error)
    raise AssertionError("read alone, the row has no problem")
