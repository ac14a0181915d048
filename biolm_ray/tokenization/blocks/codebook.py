"""Tokens as codes: one byte each while a block has few different ones, four bytes otherwise."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int, UInt8

from biolm_ray.tokenization.blocks.joined_rows import DROPPED, FIRST_RESERVED, LONG, ROW_END
from biolm_ray.tokenization.blocks.spans import SpanNumbers, Spans

NUM_LETTERS = 128  # codes that are ASCII characters themselves
_ROW_END, _DROPPED = ROW_END - 256, DROPPED - 256  # their bytes, as numbers of four bytes
_PADDING = bytes([DROPPED]) * 8


class Codebook:
    """What the tokens of a block mean, each kind decided once.

    A code below 128 is the token of that ASCII character; other texts are numbered from 128 in
    order of first sight.

    Attributes:
        texts: By code.
    """

    def __init__(self, meaning: Callable[[str], str]) -> None:
        """Take the function that makes a token of what stands between separators; "" drops it."""
        self._meaning = meaning
        self.texts = [chr(code) for code in range(NUM_LETTERS)]
        self._codes = {text: code for code, text in enumerate(self.texts)}
        self._spans = SpanNumbers()
        self._span_codes = np.empty(0, dtype=np.int32)
        self._letters = np.array([self._read(chr(code)) for code in range(NUM_LETTERS)])

    @property
    def is_narrow(self) -> bool:
        """Whether codes, and what they are read from, fit in a byte beside the reserved ones."""
        most = max(len(self.texts), NUM_LETTERS + len(self._span_codes))
        return most <= FIRST_RESERVED

    def code(self, token: str) -> int:
        """The code of a token as it is, given to it if it has none."""
        found = self._codes.setdefault(token, len(self.texts))
        if found == len(self.texts):
            self.texts.append(token)
        return found

    def read(self, window: bytearray, spans: Spans, outside: bytes) -> Int[np.ndarray, " codes"]:
        """Turn a window into the codes of its tokens and -1 (as a byte: 0xFF) at row ends.

        Args:
            window: Is written into and lengthened.
            spans: Its tokens of several bytes.
            outside: The bytes that separate tokens.

        Returns:
            uint8 while all codes fit beside the reserved bytes, else int32.
        """
        numbers = self._look_up(window, spans)
        if not self.is_narrow:
            return self._read_wide(window, spans, numbers, outside)
        _mark(window, spans, (numbers + NUM_LETTERS).astype(np.uint8))
        table = np.arange(256, dtype=np.int32)
        table[:NUM_LETTERS] = self._letters
        table[NUM_LETTERS : NUM_LETTERS + len(self._span_codes)] = self._span_codes
        outside += np.flatnonzero(table == _DROPPED).astype(np.uint8).tobytes()
        codes = window.translate(table.astype(np.uint8).tobytes(), outside + bytes([DROPPED]))
        return np.frombuffer(codes, np.uint8)

    def _read_wide(
        self, window: bytearray, spans: Spans, numbers: Int[np.ndarray, " spans"], outside: bytes
    ) -> Int[np.ndarray, " codes"]:
        _mark(window, spans, LONG)
        packed = np.frombuffer(window.translate(None, outside + bytes([DROPPED])), np.uint8)
        table = np.full(256, _ROW_END, dtype=np.int32)
        table[:NUM_LETTERS] = self._letters
        codes = table[packed]
        codes[packed == LONG] = self._span_codes[numbers]
        return codes[codes != _DROPPED]

    def read_fields(
        self, window: bytearray, spans: Spans
    ) -> tuple[UInt8[np.ndarray, " bytes"], Int[np.ndarray, " spans"]]:
        """Give a window with LONG for each token of several bytes, and their codes, int32."""
        numbers = self._look_up(window, spans)
        _mark(window, spans, LONG)
        packed = np.frombuffer(window.translate(None, bytes([DROPPED])), np.uint8)
        return packed, self._span_codes[numbers]

    def _look_up(self, window: bytearray, spans: Spans) -> Int[np.ndarray, " spans"]:
        window += _PADDING
        if not len(spans.starts):
            return np.empty(0, dtype=np.int32)
        numbers = self._spans.look_up(window, spans.starts, spans.lengths)
        known, texts = len(self._span_codes), self._spans.texts
        if known < len(texts):
            new = [self._read(text.decode()) for text in texts[known:]]
            self._span_codes = np.append(self._span_codes, np.array(new, dtype=np.int32))
        return numbers

    def _read(self, text: str) -> int:
        token = self._meaning(text)
        return self.code(token) if token else _DROPPED


def _mark(window: bytearray, spans: Spans, marks: UInt8[np.ndarray, " spans"] | int) -> None:
    """Leave of each token of several bytes its mark."""
    view = np.frombuffer(window, np.uint8)
    view[spans.rest] = DROPPED
    view[spans.starts] = marks
